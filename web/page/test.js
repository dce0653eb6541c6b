// What the test of the page asks a browser: `?test` runs it, and tells the server what was seen, a line each.

import { makeLearner } from "./learners.js";

// A number that is another one if any bit of these is.
const digest = (numbers) => new Uint32Array(numbers.buffer).reduce((sum, word) => (Math.imul(sum ^ word, 0x01000193) >>> 0), 0x811c9dc5);

async function train(page, task, regularized, steps) {
  const began = performance.now();
  const learner = await makeLearner(page, task, 0, regularized);
  const [loss, nfe] = [[], []];
  const ready = performance.now();
  for (let step = 0; step < steps; step++) {
    const report = await learner.step();
    loss.push(report.loss);
    nfe.push(report.nfe);
  }
  const seconds = (performance.now() - ready) / 1000;
  const score = await learner.evaluate();
  return { learner, loss, nfe, seconds, compiled: (ready - began) / 1000, score, digest: digest(await learner.parameters()) };
}

// How many of the canvas's pixels are brighter than its background.
async function painted(canvas) {
  await new Promise((done) => requestAnimationFrame(done));
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
  copy.drawImage(canvas, 0, 0);
  const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
  let count = 0;
  for (let i = 0; i < data.length; i += 4) count += Math.max(data[i], data[i + 1], data[i + 2]) > 60;
  return count;
}

const mean = (numbers) => numbers.reduce((sum, x) => sum + x, 0) / numbers.length;

export async function selfTest(page, canvas) {
  const told = [`adapter ${page.adapter}`];
  for (const [task, regularized, steps] of [["digits", true, 200], ["spiral", true, 200], ["spiral", false, 200]]) {
    const run = await train(page, task, regularized, steps);
    const name = `${task}-${regularized ? "regularized" : "vanilla"}`;
    const ends = (numbers) => `${mean(numbers.slice(0, 5))} ${mean(numbers.slice(-20))}`;
    told.push(`${name}-loss ${ends(run.loss)}`, `${name}-nfe ${ends(run.nfe)}`);
    told.push(`${name}-test ${run.score.loss} ${run.score.nfe} ${run.score.accuracy}`, `${name}-seconds ${run.compiled} ${run.seconds}`);
    if (task === "spiral" && regularized) {
      page.draw(run.learner);
      told.push(`painted ${await painted(canvas)}`);
    }
    run.learner.free();
  }
  const twice = [];
  for (let i = 0; i < 2; i++) {
    const run = await train(page, "digits", true, 10);
    twice.push(run.digest);
    run.learner.free();
  }
  told.push(`digests ${twice.join(" ")}`);
  await fetch("/result", { method: "POST", body: told.join("\n") });
}
