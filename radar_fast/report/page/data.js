// What the page is about: the document, and blocks of packed samples that are unpacked when they are first needed.

const DIGITS = new Uint8Array(128);
[..."0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;,=>?@^_`{|}~"].forEach((digit, value) => (DIGITS[digit.charCodeAt(0)] = value));

/** The bytes that a text in base 85 says: four in five digits, and in the last digits one less than there are. */
function unwritten(text) {
  const bytes = new Uint8Array(Math.floor((text.length * 4) / 5));
  const short = bytes.length % 4;
  for (let from = 0, to = 0; from < text.length; from += 5, to += 4) {
    let value = 0;
    for (let digit = 0; digit < 5; digit += 1) value = value * 85 + (from + digit < text.length ? DIGITS[text.charCodeAt(from + digit)] : 84);
    const amount = to + 4 <= bytes.length ? 4 : short;
    for (let place = 0; place < amount; place += 1) bytes[to + place] = (value / 2 ** (24 - 8 * place)) & 255;
  }
  return bytes;
}

/** The bytes of a block: a raw deflate stream in base 85. */
async function inflated(id) {
  const element = byId(id);
  const bytes = unwritten(element.textContent);
  element.remove();
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Response(stream).arrayBuffer();
}

function unpacked(name) {
  return inflated(`block-${CHOSEN}-${name}`);
}

const REPORT = JSON.parse(new TextDecoder().decode(await inflated("block-document")));

const ALL = REPORT.benchmarks;

/** Of several benchmarks one is shown: that whose number stands in the address, behind #. */
const CHOSEN = Math.min(ALL.length - 1, Number.parseInt(location.hash.slice(1), 10) || 0);

const DATA = ALL[CHOSEN];

const STEPS = DATA.steps;

/** The entries of one kind: overall, ability, directory or task. */
function entries(kind) {
  return DATA.entries.filter((entry) => entry.kind === kind);
}

const KINDS = { ability: "abilities", directory: "directories", task: "tasks" };

/** Kinds that say more than the overall number, most telling first. */
const LEVELS = Object.keys(KINDS).filter((kind) => entries(kind).length > 1 || (kind === "task" && entries(kind).length));

const TYPES = { u8: Uint8Array, u16: Uint16Array, u32: Uint32Array };

async function array(name) {
  return new TYPES[DATA.samples.arrays[name]](await unpacked(name));
}

async function list(name) {
  return JSON.parse(new TextDecoder().decode(await unpacked(name)));
}

const WRONG = 0;
const RIGHT = 1;
const UNSCORED = 2;

/** Percent that the number of a distractor stands for. */
const GRAIN = 2;

/** Numbers by place, from those that were written with like ones together: all whose place is of kind 0, then all of
    kind 1 and so on, each in the order of their places. `from`: where they begin among those written. */
function laidOut(written, from, kinds) {
  const starts = new Uint32Array(257);
  for (const kind of kinds) starts[kind + 1] += 1;
  for (let kind = 1; kind < 257; kind += 1) starts[kind] += starts[kind - 1];
  return Uint8Array.from(kinds, (kind) => written[from + starts[kind]++]);
}

/** The distractors' numbers by candidate and step, of all but each sample's last; they were written rank by rank, by
    what the answer and those before have left. */
function distractors(count, first, answers, written) {
  const steps = STEPS.length;
  const kept = Uint32Array.from({ length: count }, (_, sample) => Math.max(0, first[sample + 1] - first[sample] - 2));
  const starts = new Uint32Array(count + 1);
  kept.forEach((amount, sample) => (starts[sample + 1] = starts[sample] + amount));
  const left = answers.map((percent) => Math.floor((100 - percent) / GRAIN));
  const found = new Uint8Array(starts[count] * steps);
  let from = 0;
  for (let rank = 0; from < written.length; rank += 1) {
    const here = [...kept.keys()].filter((sample) => kept[sample] > rank);
    const kinds = new Uint8Array(here.length * steps);
    here.forEach((sample, place) => kinds.set(left.subarray(sample * steps, (sample + 1) * steps), place * steps));
    const mine = laidOut(written, from, kinds);
    here.forEach((sample, place) => {
      const row = mine.subarray(place * steps, (place + 1) * steps);
      found.set(row, (starts[sample] + rank) * steps);
      row.forEach((number, step) => (left[sample * steps + step] -= number));
    });
    from += mine.length;
  }
  return found;
}

/** Every candidate's probability in whole percent, by candidate and step, of what is kept: the answers', and the
    distractors' but for each sample's last, which has what is left. */
function percentages(count, first, answer, answers, others) {
  const steps = STEPS.length;
  const found = new Uint8Array(first[count] * steps);
  let other = 0;
  for (let sample = 0; sample < count; sample += 1) {
    const right = first[sample] + answer[sample];
    const end = first[sample + 1];
    const last = right === end - 1 ? end - 2 : end - 1;
    for (let step = 0; step < steps; step += 1) {
      if (first[sample] === end) break;
      let left = 100 - answers[sample * steps + step];
      found[right * steps + step] = 100 - left;
      let at = other;
      for (let candidate = first[sample]; candidate < last; candidate += 1) {
        if (candidate === right) continue;
        found[candidate * steps + step] = GRAIN * others[at * steps + step];
        left -= GRAIN * others[at * steps + step];
        at += 1;
      }
      if (last >= first[sample] && last !== right) found[last * steps + step] = left;
    }
    other += Math.max(0, end - first[sample] - 2);
  }
  return found;
}

let loading = null;

/** The samples, unpacked once. */
function samples() {
  loading ??= unpackSamples();
  return loading;
}

/** `state` is by sample and step: 0 wrong, 1 right, 2 unscored, 3 not in that run; `first` says where a sample's
    candidates begin among all. */
async function unpackSamples() {
  const [state, writtenAnswers, writtenOthers, first, answer, task, images, forgotten] = await Promise.all(
    ["state", "answers", "others", "first", "answer", "task", "images", "forgotten"].map(array),
  );
  const [names, questions, candidates, pictures, reasons] = await Promise.all(
    ["names", "questions", "candidates", "pictures", "reasons"].map(list),
  );
  const steps = STEPS.length;
  const answers = laidOut(writtenAnswers, 0, state);
  const others = distractors(DATA.samples.count, first, answers, writtenOthers);
  const percents = percentages(DATA.samples.count, first, answer, answers, others);
  return {
    count: DATA.samples.count,
    tasks: DATA.samples.tasks,
    answer,
    task,
    images,
    forgotten,
    names,
    questions,
    texts: candidates,
    pictures,
    reasons: new Map(reasons),
    candidates: (sample) => first[sample + 1] - first[sample],
    stateAt: (sample, step) => state[sample * steps + step],
    /** The candidate's probability at a step, in whole percent. */
    percentAt: (sample, candidate, step) => percents[(first[sample] + candidate) * steps + step],
    answerAt: (sample, step) => answers[sample * steps + step],
    /** Probability of the answer less that of the best distractor, in percent. */
    marginAt: (sample, step) => {
      let best = 0;
      for (let at = first[sample]; at < first[sample + 1]; at += 1) {
        if (at !== first[sample] + answer[sample]) best = Math.max(best, percents[at * steps + step]);
      }
      return answers[sample * steps + step] - best;
    },
  };
}
