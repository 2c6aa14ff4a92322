
// What the charts of all reports have in common: colours, numbers, logarithmic axes.
const Look = (function () {
  "use strict";
  // Okabe and Ito's palette, distinguishable with any colour vision; lines differ in dashes and points too.
  const LIGHT = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8a7f00"];
  const DARK = ["#56b4e9", "#e69f00", "#2fc69b", "#e59bc6", "#f0e442", "#d55e00", "#ffffff", "#3f9ae0"];

  function theme() {
    const style = getComputedStyle(document.documentElement);
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const color = (name) => style.getPropertyValue(name).trim();
    return { colors: dark ? DARK : LIGHT, paper: color("--paper"), ink: color("--ink"), soft: color("--soft"), line: color("--line") };
  }

  // 1500000 as "1.5 M"; bytes in powers of 1024.
  function short(value) {
    if (value === null || value === undefined) return "";
    if (value === 0) return "0";
    const units = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];
    for (const [size, unit] of units) if (Math.abs(value) >= size) return +(value / size).toPrecision(3) + " " + unit;
    return String(+value.toPrecision(3));
  }
  function bytes(value) {
    const units = [[1073741824, "GiB"], [1048576, "MiB"], [1024, "KiB"]];
    for (const [size, unit] of units) if (value >= size) return +(value / size).toPrecision(4) + " " + unit;
    return value + " B";
  }

  function logRange(values) {
    const positive = values.flat().filter((v) => v !== null && v > 0);
    if (positive.length === 0) return [0.1, 10];
    const low = Math.min(...positive), high = Math.max(...positive);
    const room = Math.max(1.15, Math.pow(high / low, 0.06));
    return [low / room, high * room];
  }

  function decades(u, axis, low, high) {
    const ticks = [];
    const first = Math.floor(Math.log10(low)), last = Math.ceil(Math.log10(high));
    const parts = last - first <= 3 ? [1, 2, 5] : [1];
    for (let e = first; e <= last; ++e) for (const p of parts) ticks.push(p * Math.pow(10, e));
    return ticks.filter((t) => t >= low && t <= high);
  }

  return { theme, short, bytes, logRange, decades };
})();
