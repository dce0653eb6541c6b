// What is learnt here.

// Training steps of a run, and the price of the regularizer.
export const RUNS = { spiral: { steps: 300, price: 0.1 }, digits: { steps: 200, price: 0.1 } };

// Rows of 64 pixels and a label.
async function loadDigits() {
  const answer = await fetch("digits.csv.gz");
  if (!answer.ok) throw new Error(`digits.csv.gz: ${answer.status} ${answer.statusText}`);
  const unpacked = answer.body.pipeThrough(new DecompressionStream("gzip"));
  const text = await new Response(unpacked).text();
  return Uint8Array.from(text.trim().split(/[\n,]/).map(Number));
}

export async function makeLearner(page, task, seed, regularized) {
  const price = regularized ? RUNS[task].price : undefined;
  return task === "digits" ? page.digits(await loadDigits(), seed, price) : page.spiral(seed, price);
}
