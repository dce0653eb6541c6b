// A curve of this run over that of the run before.

const STYLE = { now: "#ffb454", before: "#6b7a99", axis: "#5a6680", text: "#9aa6bf" };

const ticks = (low, high) => {
  const step = [1, 2, 5, 10, 20, 50, 100].find((step) => (high - low) / step <= 5) ?? (high - low) / 5;
  const first = Math.ceil(low / step) * step;
  return Array.from({ length: Math.floor((high - first) / step) + 1 }, (_, i) => first + i * step);
};

export function drawCurves(canvas, runs, { steps, logarithmic }) {
  const context = canvas.getContext("2d");
  const { width, height } = canvas;
  const [left, top, right, bottom] = [44, 10, width - 10, height - 22];
  const of = (value) => (logarithmic ? Math.log10(value) : value);
  const values = runs.flatMap((run) => run.values).filter((value) => Number.isFinite(of(value))).map(of);
  context.clearRect(0, 0, width, height);
  context.font = "12px system-ui, sans-serif";
  if (values.length === 0) return;
  let [low, high] = [Math.min(...values), Math.max(...values)];
  if (!logarithmic) low = 0;
  if (high - low < 1e-9) high = low + 1;
  const x = (step) => left + ((right - left) * step) / steps;
  const y = (value) => bottom - ((bottom - top) * (of(value) - low)) / (high - low);

  context.strokeStyle = STYLE.axis;
  context.fillStyle = STYLE.text;
  context.lineWidth = 0.5;
  const label = (value) => (logarithmic ? (10 ** value).toPrecision(2) : String(value));
  const marks = logarithmic ? [low, (low + high) / 2, high] : ticks(low, high);
  for (const mark of marks) {
    const at = bottom - ((bottom - top) * (mark - low)) / (high - low);
    context.beginPath();
    context.moveTo(left, at);
    context.lineTo(right, at);
    context.stroke();
    context.fillText(label(mark), 4, at + 4);
  }
  context.fillText("0", left, height - 6);
  context.fillText(`${steps} steps`, right - 60, height - 6);

  context.lineWidth = 1.5;
  for (const { values, kind } of runs) {
    context.strokeStyle = STYLE[kind];
    context.beginPath();
    values.forEach((value, step) => Number.isFinite(of(value)) && context.lineTo(x(step + 1), y(value)));
    context.stroke();
  }
}
