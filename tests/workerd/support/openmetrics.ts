/**
 * A strict reader of OpenMetrics text (OpenMetrics 1.0), as far as a gateway needs it: it accepts nothing that the
 * specification does not allow. Exemplars and timestamps, which the gateway does not write, are refused.
 */

export interface Family {
  type: string;
  help: string;
  samples: { name: string; labels: Record<string, string>; value: number }[];
}

const NAME = "[a-zA-Z_:][a-zA-Z0-9_:]*";
const METADATA = new RegExp(`^# (HELP|TYPE|UNIT) (${NAME}) (.*)$`);
const SAMPLE = new RegExp(`^(${NAME})(?:\\{(.*)\\})? (\\S+)$`);
const LABEL = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)/;
const NUMBER = /^(?:[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?|[+-]Inf|NaN)$/;

/** Suffixes of the samples of each type. */
const SUFFIXES: Record<string, string[]> = {
  counter: ["_total", "_created"],
  gauge: [""],
  histogram: ["_bucket", "_count", "_sum", "_created"],
  info: ["_info"],
  unknown: [""],
};

function readLabels(text: string, line: string): Record<string, string> {
  const labels: Record<string, string> = {};
  for (let rest = text; rest !== "";) {
    const [whole, name, value, end] = LABEL.exec(rest) ?? fail("malformed labels", line);
    if (name in labels || name.startsWith("__")) {
      fail("a label that may not be here", line);
    }
    labels[name] = value.replaceAll(/\\(["\\n])/g, (_, char) => (char === "n" ? "\n" : char));
    rest = rest.slice(whole.length);
    if (end === "," && rest === "") {
      fail("a comma behind the last label", line);
    }
  }
  return labels;
}

function fail(what: string, line: string): never {
  throw new Error(`${what}: ${line}`);
}

/** Reads a whole exposition. @throws what is wrong with it, with the line */
export function parseOpenMetrics(text: string): Map<string, Family> {
  if (!text.endsWith("# EOF\n")) {
    fail("no # EOF at the end", text.slice(-40));
  }
  const families = new Map<string, Family>();
  const series = new Set<string>();
  let [current, metadata] = ["", new Set<string>()];
  for (const line of text.slice(0, -"# EOF\n".length).split("\n").slice(0, -1)) {
    const comment = METADATA.exec(line);
    if (comment !== null) {
      const [, kind, name, value] = comment;
      if (name !== current) {
        if (families.has(name)) {
          fail("a family in two pieces", line);
        }
        families.set(name, { type: "unknown", help: "", samples: [] });
        [current, metadata] = [name, new Set()];
      }
      const family = families.get(name) as Family;
      if (metadata.has(kind) || family.samples.length > 0) {
        fail("metadata twice, or behind samples", line);
      }
      metadata.add(kind);
      if (kind === "TYPE") {
        family.type = value in SUFFIXES ? value : fail("an unknown type", line);
      } else if (kind === "HELP") {
        family.help = value;
      } else if (!name.endsWith(`_${value}`)) {
        fail("a unit that is not the end of the name", line);
      }
      continue;
    }
    const [, name, labelText, valueText] = SAMPLE.exec(line) ?? fail("neither metadata nor sample", line);
    const family = families.get(current) ?? fail("a sample without its family", line);
    if (!SUFFIXES[family.type].some((suffix) => name === current + suffix)) {
      fail(`no sample of the ${family.type} ${current}`, line);
    }
    if (!NUMBER.test(valueText)) {
      fail("no number", line);
    }
    const labels = readLabels(labelText ?? "", line);
    const key = JSON.stringify([name, Object.entries(labels).toSorted()]);
    if (series.has(key)) {
      fail("a series twice", line);
    }
    series.add(key);
    const value = Number(valueText.replace("Inf", "Infinity"));
    if (family.type !== "gauge" && !(value >= 0)) {
      fail("less than nothing was counted", line);
    }
    family.samples.push({ name, labels, value });
  }
  for (const [name, family] of families) {
    if (family.type === "histogram") {
      checkHistogram(name, family);
    }
  }
  return families;
}

/** Buckets rise and end with `+Inf`, which is the count. */
function checkHistogram(name: string, { samples }: Family): void {
  const groups = Map.groupBy(samples, ({ labels: { le, ...rest } }) => JSON.stringify(Object.entries(rest).toSorted()));
  for (const [labels, group] of groups) {
    const buckets = group.filter((sample) => sample.name === `${name}_bucket`);
    const bounds = buckets.map((sample) => Number(sample.labels.le.replace("Inf", "Infinity")));
    const rising = buckets.every(
      (bucket, index) => index === 0 || (bounds[index] > bounds[index - 1] && bucket.value >= buckets[index - 1].value),
    );
    const count = group.find((sample) => sample.name === `${name}_count`)?.value;
    const sum = group.find((sample) => sample.name === `${name}_sum`)?.value;
    if (!rising || bounds.at(-1) !== Infinity || count !== buckets.at(-1)?.value || sum === undefined) {
      fail("a histogram that is none", `${name} ${labels}`);
    }
  }
}
