/**
 * The shared vectors (`tests/vectors/*.json`) as sources of a gateway: one source for each combination of scheme and secrets.
 * The form of the files is described in them; here only what names a source is read.
 */

export const VECTOR_FILES = ["signatures", "reference", "large", "envelopes", "json"] as const;

export interface Vector {
  name: string;
  profile: string;
  custom?: Record<string, unknown>;
  secrets: { label: string; text: string; not_after_ms?: number }[];
  headers: [string, string][];
  body?: string;
  body_base64?: string;
  body_repeat?: { text: string; times: number };
  pad_to_bytes?: number;
  now_ms: number;
  expect: { verdict: string; event_count?: number; detail?: string; label?: string };
}

export interface VectorSources {
  /** For the gateway's configuration. */
  sources: Record<string, unknown>[];
  /** Worker secrets that the sources name. */
  secrets: Record<string, string>;
}

/** What decides which source a vector belongs to. */
export function schemeOf({ profile, custom, secrets }: Vector): string {
  return JSON.stringify([profile, custom ?? null, secrets]);
}

/** The name of every combination, in the order of its first vector. */
export function sourceNames(vectors: Vector[]): Map<string, string> {
  const schemes = [...new Set(vectors.map(schemeOf))];
  return new Map(schemes.map((scheme, index) => [scheme, `vectors-${index}`]));
}

export function vectorSources(vectors: Vector[]): VectorSources {
  const names = sourceNames(vectors);
  const secrets: Record<string, string> = {};
  const sources = [...names].map(([scheme, name], index) => {
    const vector = vectors.find((candidate) => schemeOf(candidate) === scheme) as Vector;
    const references = vector.secrets.map(({ label, text, not_after_ms }, place) => {
      const secret = `VECTOR_${index}_${place}`;
      secrets[secret] = text;
      return { name: secret, label, ...(not_after_ms !== undefined && { not_after: new Date(not_after_ms).toISOString() }) };
    });
    // A source has to name a secret; one that is not set is how it has none.
    const named = references.length > 0 ? references : [`VECTOR_${index}_NOT_SET`];
    return { name, profile: vector.profile, secrets: named, ...(vector.custom && { custom: vector.custom }) };
  });
  return { sources, secrets };
}
