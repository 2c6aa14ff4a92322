
// Draws the charts that report_page.cc describes in the element #data, with uPlot. No text of the data becomes HTML:
// uPlot sets textContent and draws on canvases.
(function () {
  "use strict";
  const { theme, short, bytes, logRange, decades } = Look;
  const charts = JSON.parse(document.getElementById("data").textContent);
  const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3]];
  const HEIGHT = 400;
  let drawn = [];

  // A spec in lines that fit under a bar.
  function folded(text, width) {
    const lines = [""];
    for (const part of text.split(/(?=[+,(])/)) {
      if (lines[lines.length - 1].length + part.length > width && lines[lines.length - 1] !== "") lines.push("");
      lines[lines.length - 1] += part.trim();
    }
    return lines.join("\n");
  }

  function axes(chart, look) {
    const common = (label) => ({
      label, stroke: look.soft, labelFont: "13px system-ui, sans-serif", font: "12px system-ui, sans-serif",
      filter: (u, splits) => splits,  // every decade and its parts have a text
      grid: { stroke: look.line, width: 1 }, ticks: { stroke: look.line, width: 1 },
    });
    const x = common(chart.xLabel), y = common(chart.yLabel);
    y.size = 64;
    y.values = (u, ticks) => ticks.map(short);
    if (chart.yLog) y.splits = decades;
    if (chart.categories.length > 0) {
      x.grid = { show: false };
      x.ticks = { show: false };
      x.gap = 6;
    } else {
      const inBytes = chart.xLabel.includes("bytes of");
      x.values = (u, ticks) => ticks.map(inBytes ? bytes : short);
      x.splits = inBytes ? () => chart.x : decades;
      x.size = 44;
    }
    return [x, y];
  }

  function linesOptions(chart, look) {
    const scatter = chart.type === "scatter";
    const data = [chart.x, ...chart.series.map((s) => s.values)];
    const series = chart.series.map((s, i) => {
      const color = look.colors[i % look.colors.length];
      if (scatter && i === 0) {
        return { label: s.label, color, stroke: color, paths: () => null, points: { show: true, size: 10, fill: color, stroke: color },
                 value: (u, v, si, at) => at === null || at === undefined ? "" : s.names[at] + ": " + short(v) };
      }
      const many = chart.x.length > 40;
      return { label: s.label, color, stroke: color, width: 2, dash: DASHES[Math.floor(i / look.colors.length + (scatter ? 1 : i)) % DASHES.length],
               spanGaps: true, points: { show: !many && !scatter, size: 7, fill: color, stroke: color },
               value: (u, v) => short(v) };
    });
    const marked = chart.marks.map((m) => m.y).concat(chart.level === null ? [] : [chart.level]);
    const all = chart.series.map((s) => s.values).concat([marked]);
    return {
      data,
      series: [{ label: chart.xLabel, value: (u, v) => v === null ? "" : chart.xLabel.includes("bytes of") ? bytes(v) : short(v) }, ...series],
      scales: {
        x: { time: false, distr: chart.xLog ? 3 : 1, range: () => chart.xLog ? logRange([chart.x]) : [Math.min(...chart.x), Math.max(...chart.x)] },
        y: { distr: chart.yLog ? 3 : 1, range: chart.yLog ? () => logRange(all) : (u, low, high) => [0, high * 1.05] },
      },
    };
  }

  // Stacked bars are drawn as sums, the tallest first, so that each covers the one behind; grouped ones as a comb of
  // positions, one for each (category, series).
  function barsOptions(chart, look, width) {
    const stacked = chart.type === "stacked";
    const n = chart.categories.length, k = chart.series.length;
    const step = stacked ? 1 : k + 1;
    const centre = (c) => stacked ? c : c * step + (k - 1) / 2;
    const bars = uPlot.paths.bars({ size: [stacked ? 0.6 : 0.9, 90] });
    let x, columns, tops;
    if (stacked) {
      x = chart.categories.map((_, i) => i);
      let sum = x.map(() => 0);
      columns = chart.series.map((s) => (sum = sum.map((v, i) => v + (s.values[i] || 0))));
      columns = columns.slice().reverse();
    } else {
      x = Array.from({ length: n * step - 1 }, (_, i) => i);
      columns = chart.series.map((s, j) => x.map((at) => at % step === j ? s.values[Math.floor(at / step)] : null));
    }
    tops = Math.max(0, ...columns.flat().filter((v) => v !== null), chart.level === null ? 0 : chart.level);
    const order = chart.series.map((_, j) => stacked ? k - 1 - j : j);
    const series = order.map((j) => ({
      label: chart.series[j].label, paths: bars, points: { show: false }, width: 0,
      color: look.colors[j % look.colors.length], fill: look.colors[j % look.colors.length], stroke: look.colors[j % look.colors.length],
      value: (u, v, si, at) => {
        if (at === null || at === undefined) return "";
        const c = stacked ? at : Math.floor(at / step);
        return c < n ? short(chart.series[j].values[c]) : "";
      },
    }));
    const room = Math.max(10, Math.floor(width / n / 9));
    const labels = chart.categories.map((c) => folded(c, room));
    return {
      data: [x, ...columns],
      series: [{ label: "spec", value: (u, v, si, at) => at === null || at === undefined ? "" : chart.categories[Math.min(n - 1, Math.floor(at / step))] }, ...series],
      scales: {
        x: { time: false, range: () => [-0.6, x[x.length - 1] + 0.6] },
        y: { range: () => [0, tops > 0 ? tops * 1.08 : 1] },
      },
      axis: {
        splits: () => chart.categories.map((_, c) => centre(c)),
        values: () => labels,
        size: 24 + 15 * Math.max(...labels.map((l) => l.split("\n").length)),
      },
    };
  }

  // The level, and the marks with their texts, kept apart from each other by moving up those that would overlap.
  function overlay(chart, look) {
    return (u) => {
      const ctx = u.ctx, ratio = devicePixelRatio;
      ctx.save();
      ctx.font = 12 * ratio + "px system-ui, sans-serif";
      ctx.textAlign = "left";
      ctx.textBaseline = "middle";
      ctx.fillStyle = look.ink;
      ctx.strokeStyle = look.soft;
      ctx.lineWidth = ratio;
      if (chart.level !== null) {
        const y = u.valToPos(chart.level, "y", true);
        ctx.setLineDash([6 * ratio, 4 * ratio]);
        ctx.beginPath();
        ctx.moveTo(u.bbox.left, y);
        ctx.lineTo(u.bbox.left + u.bbox.width, y);
        ctx.stroke();
        ctx.setLineDash([]);
        if (chart.categories.length > 0) ctx.fillText("memcpy", u.bbox.left + 4 * ratio, y - 8 * ratio);
      }
      const placed = [];
      for (const mark of chart.marks) {
        const x = u.valToPos(mark.x, "x", true), y = u.valToPos(mark.y, "y", true);
        const width = ctx.measureText(mark.text).width, height = 14 * ratio;
        const left = Math.min(x + 7 * ratio, u.bbox.left + u.bbox.width - width - 2 * ratio);
        let top = y - 10 * ratio;
        while (placed.some((p) => left < p[0] + p[2] && p[0] < left + width && Math.abs(top - p[1]) < height)) top -= height;
        placed.push([left, top, width]);
        if (chart.type === "lines") {
          ctx.beginPath();
          ctx.arc(x, y, 4 * ratio, 0, 2 * Math.PI);
          ctx.fill();
        }
        ctx.fillText(mark.text, left, top);
      }
      ctx.restore();
    };
  }

  function draw(element, chart, look) {
    const width = Math.max(320, element.clientWidth);
    const bars = chart.categories.length > 0;
    const options = bars ? barsOptions(chart, look, width) : linesOptions(chart, look);
    const [x, y] = axes(chart, look);
    Object.assign(x, options.axis || {});
    return new uPlot({
      width, height: HEIGHT, series: options.series, scales: options.scales, axes: [x, y],
      cursor: { drag: { x: false, y: false } },
      legend: { markers: { width: 0, fill: (u, i) => options.series[i].color } },
      hooks: { draw: [overlay(chart, look)] },
    }, options.data, element);
  }

  function drawAll() {
    for (const plot of drawn) plot.destroy();
    const look = theme();
    drawn = Array.from(document.querySelectorAll(".chart"), (element) => draw(element, charts[+element.dataset.chart], look));
    document.documentElement.dataset.charts = drawn.length;
  }

  drawAll();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  let waiting = 0, last = innerWidth;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { if (innerWidth !== last) { last = innerWidth; drawAll(); } }, 150);
  });
})();
