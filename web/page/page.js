// The page: one model in training, its curves, and its trajectories.

import init, { Page } from "./fewsteps_web.js";
import { drawCurves } from "./curves.js";
import { RUNS, makeLearner } from "./learners.js";
import { selfTest } from "./test.js";

const element = (id) => document.getElementById(id);
const say = (text, error = false) => {
  element("state").textContent = text;
  element("state").className = error ? "error" : "";
};

const empty = () => ({ loss: [], nfe: [] });
let [run, before] = [empty(), empty()];
let [generation, paused] = [0, false];

function drawAll(steps) {
  const of = (name) => [{ values: before[name], kind: "before" }, { values: run[name], kind: "now" }];
  drawCurves(element("nfe"), of("nfe"), { steps, logarithmic: false });
  drawCurves(element("loss"), of("loss"), { steps, logarithmic: true });
}

const nextFrame = () => new Promise((done) => requestAnimationFrame(done));

async function train(page) {
  const mine = ++generation;
  const task = element("task").value;
  const { steps } = RUNS[task];
  [before, run] = [run.task === task ? run : empty(), { ...empty(), task }];
  element("trajectories").hidden = task !== "spiral";
  element("caption").hidden = task !== "spiral";
  say("compiling shaders…");
  const learner = await makeLearner(page, task, 0, element("regularized").checked);
  for (let step = 0; step < steps && mine === generation; ) {
    if (paused) {
      await nextFrame();
      continue;
    }
    const report = await learner.step();
    if (mine !== generation) break;
    step += 1;
    run.loss.push(report.loss);
    run.nfe.push(report.nfe);
    say(`step ${step} of ${steps}: loss ${report.loss.toPrecision(3)}, NFE ${report.nfe}`);
    page.draw(learner);
    drawAll(steps);
    await nextFrame();
  }
  if (mine === generation) {
    const score = await learner.evaluate();
    const told = Number.isNaN(score.accuracy) ? "" : `, ${(100 * score.accuracy).toFixed(1)} % told right`;
    say(`on samples that it has not seen: loss ${score.loss.toPrecision(3)}${told}, NFE ${score.nfe}`);
  }
  learner.free();
}

async function main() {
  if (!navigator.gpu) throw new Error("this browser has no WebGPU: recent versions of Chrome, Edge, Safari and Firefox do");
  await init();
  const page = await Page.open(element("trajectories"));
  element("adapter").textContent = `Adapter: ${page.adapter}`;
  const parameters = new URLSearchParams(location.search);
  if (parameters.has("test")) return selfTest(page, element("trajectories"));
  const start = () => train(page).catch((error) => say(error.message, true));
  element("run").onclick = () => {
    paused = !paused;
    element("run").textContent = paused ? "Go on" : "Pause";
  };
  for (const id of ["restart", "task", "regularized"]) {
    element(id).addEventListener(id === "restart" ? "click" : "change", start);
  }
  start();
}

main().catch((error) => {
  say(error.message, true);
  if (location.search.includes("test")) fetch("/result", { method: "POST", body: `error ${error.stack ?? error}` });
});
