
// Draws the charts of a folder of `laconic fed run`: fed_page.cc writes what is in the element #data. A group is one
// method with one codec; its line is the mean over seeds and its band goes from the least to the largest. No text of
// the data becomes HTML.
(function () {
  "use strict";
  const { theme, short, logRange, decades } = Look;
  const data = JSON.parse(document.getElementById("data").textContent);
  const HEIGHT = 420;
  const DOWNLINK = 10;  // times as fast as the uplink, where the reader chooses the uplink
  let drawn = [];

  // What stands on the axes: of a group's run, its i-th point.
  const uplink = () => +(document.getElementById("uplink") || { value: 0 }).value;
  const perClient = (p, i, bytes) => p.asked[i] > 0 ? 8 * bytes[i] * p.round[i] / p.asked[i] : 0;
  const AXES = {
    round: { label: "rounds", of: (p, i) => p.round[i] },
    uplink: { label: "sent by all clients (bytes)", log: true, of: (p, i) => p.uplink[i] },
    seconds: {
      label: "simulated time (s)",
      of: (p, i) => uplink() > 0 ? perClient(p, i, p.uplink) / uplink() + perClient(p, i, p.downlink) / (DOWNLINK * uplink()) : p.seconds[i],
    },
    accuracy: { label: "test accuracy", of: (p, i) => p.accuracy[i] },
    loss: { label: "test loss", log: true, of: (p, i) => p.loss[i] },
  };

  // The points of a group: x is a mean over seeds, y mean, least and largest.
  function pointsOf(group, xAxis, yAxis) {
    const length = Math.min(...group.runs.map((p) => p.round.length)), points = [];
    for (let i = 0; i < length; ++i) {
      const xs = group.runs.map((p) => xAxis.of(p, i)), ys = group.runs.map((p) => yAxis.of(p, i));
      if (ys.some((y) => y === null) || xs.some((x) => x === null)) continue;
      const mean = (v) => v.reduce((a, b) => a + b, 0) / v.length;
      if (xAxis.log && !(mean(xs) > 0)) continue;
      points.push({ x: mean(xs), y: mean(ys), low: Math.min(...ys), high: Math.max(...ys) });
    }
    return points;
  }

  // uPlot wants one x for all series: the union, with gaps that lines span.
  function columnsOf(lines) {
    const xs = [...new Set(lines.flatMap((points) => points.map((p) => p.x)))].sort((a, b) => a - b);
    const place = new Map(xs.map((x, i) => [x, i])), columns = [xs];
    for (const points of lines) {
      for (const key of ["y", "low", "high"]) {
        const column = new Array(xs.length).fill(null);
        for (const p of points) column[place.get(p.x)] = p[key];
        columns.push(column);
      }
    }
    return columns;
  }

  function drawChart(element, look) {
    const xAxis = AXES[element.dataset.x], yAxis = AXES[element.dataset.y];
    const lines = data.groups.map((group) => pointsOf(group, xAxis, yAxis));
    const columns = columnsOf(lines), series = [{ label: xAxis.label, value: (u, v) => short(v) }], bands = [];
    data.groups.forEach((group, g) => {
      const color = look.colors[g % look.colors.length];
      const hidden = { class: "unseen", stroke: "transparent", width: 0, spanGaps: true, points: { show: false } };
      series.push({ label: group.label, stroke: color, width: 2, dash: g >= look.colors.length ? [8, 4] : [], spanGaps: true,
                    points: { show: false }, value: (u, v) => v === null || v === undefined ? "" : v.toPrecision(4) });
      series.push({ label: "least", ...hidden }, { label: "largest", ...hidden });
      if (group.runs.length > 1) bands.push({ series: [3 * g + 3, 3 * g + 2], fill: color + "33" });
    });
    const axis = (what) => ({
      label: what.label, stroke: look.soft, labelFont: "13px system-ui, sans-serif", font: "12px system-ui, sans-serif",
      grid: { stroke: look.line, width: 1 }, ticks: { stroke: look.line, width: 1 }, values: (u, ticks) => ticks.map(short),
      ...(what.log ? { splits: decades, filter: (u, splits) => splits } : {}),
    });
    const values = lines.flat();
    const linear = (key) => () => {
      const all = values.flatMap((p) => key === "x" ? [p.x] : [p.low, p.high]);
      const low = Math.min(...all), high = Math.max(...all), room = (high - low || Math.abs(high) || 1) * (key === "x" ? 0 : 0.05);
      return [low - room, high + room];
    };
    const log = (key) => () => logRange([values.flatMap((p) => key === "x" ? [p.x] : [p.low, p.high])]);
    const scale = (what, key) => ({ time: false, distr: what.log ? 3 : 1, range: what.log ? log(key) : linear(key) });
    return new uPlot({
      width: Math.max(320, element.clientWidth), height: HEIGHT, series, bands,
      scales: { x: scale(xAxis, "x"), y: scale(yAxis, "y") },
      axes: [axis(xAxis), { ...axis(yAxis), size: 64 }],
      cursor: { drag: { x: false, y: false } },
      legend: { markers: { width: 0, fill: (u, i) => i > 0 ? look.colors[Math.floor((i - 1) / 3) % look.colors.length] : null } },
    }, columns, element);
  }

  // Who has which labels: a column for each client, a row for each label; the darker, the more samples.
  function drawSplit(canvas, look) {
    const counts = data.split, classes = counts[0].length, ratio = devicePixelRatio;
    const left = 28, bottom = 22, width = canvas.parentElement.clientWidth;
    const cell = Math.max(2, Math.min(24, (width - left) / counts.length)), row = 16;
    canvas.style.width = left + cell * counts.length + "px";
    canvas.style.height = row * classes + bottom + "px";
    canvas.width = (left + cell * counts.length) * ratio;
    canvas.height = (row * classes + bottom) * ratio;
    const ctx = canvas.getContext("2d"), most = Math.max(1, ...counts.flat());
    ctx.scale(ratio, ratio);
    ctx.font = "12px system-ui, sans-serif";
    ctx.textBaseline = "middle";
    ctx.fillStyle = look.soft;
    ctx.textAlign = "right";
    for (let c = 0; c < classes; ++c) ctx.fillText(String(c), left - 6, c * row + row / 2);
    ctx.textAlign = "left";
    for (let i = 0; i < counts.length; i += Math.ceil(60 / cell)) ctx.fillText(String(i), left + i * cell, row * classes + 12);
    ctx.fillStyle = look.colors[0];
    counts.forEach((client, i) => client.forEach((count, c) => {
      if (count === 0) return;
      ctx.globalAlpha = 0.15 + 0.85 * count / most;
      ctx.fillRect(left + i * cell, c * row + 1, Math.max(1, cell - (cell > 4 ? 1 : 0)), row - 2);
    }));
  }

  function drawAll() {
    for (const plot of drawn) plot.destroy();
    const look = theme();
    drawn = Array.from(document.querySelectorAll(".chart"), (element) => drawChart(element, look));
    for (const canvas of document.querySelectorAll("canvas.split")) drawSplit(canvas, look);
    document.documentElement.dataset.charts = drawn.length;
  }

  drawAll();
  const choice = document.getElementById("uplink");
  if (choice) choice.addEventListener("change", drawAll);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  let waiting = 0, last = innerWidth;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { if (innerWidth !== last) { last = innerWidth; drawAll(); } }, 150);
  });
})();
