// What the page asks its server for. Every failure is an Error with one line for people.

async function asked(path, options = {}) {
  let answer;
  try {
    answer = await fetch(`page/${path}`, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer.");
  }
  if (answer.ok) return answer;
  let message = "";
  try {
    message = (await answer.json()).error;
  } catch {
    // Not ours: something between here and the server has answered.
  }
  throw new Error(message || `The server answered ${answer.status} ${answer.statusText}.`);
}

async function posted(path, parameters, body, signal) {
  const query = new URLSearchParams(parameters);
  const answer = await asked(`${path}?${query}`, { method: "POST", body, signal });
  return answer.json();
}

function blobOf(text, type) {
  return new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], { type });
}

/** The models that code pictures, and the largest file. */
export async function served() {
  return (await asked("models")).json();
}

/** Names of the samples. */
export async function sampleNames() {
  return (await (await asked("samples")).json()).samples;
}

export function sampleAddress(name) {
  return `page/samples/${encodeURIComponent(name)}`;
}

/** A sample, as if it had been chosen. */
export async function sample(name) {
  const blob = await (await asked(`samples/${encodeURIComponent(name)}`)).blob();
  return new File([blob], name, { type: blob.type });
}

/** A file's picture, upright and in sRGB. */
export async function picture(file, signal) {
  const answer = await posted("picture", {}, file, signal);
  return { ...answer, picture: blobOf(answer.picture, "image/png") };
}

/** A picture through a model: the bitstream, what it decodes to, and figures. */
export async function compress(file, model, quality, realism, signal) {
  const parameters = quality === null ? { model, realism } : { model, quality, realism };
  const answer = await posted("compress", parameters, file, signal);
  return {
    ...answer,
    picture: blobOf(answer.picture, "image/png"),
    bitstream: blobOf(answer.bitstream, "application/octet-stream"),
  };
}

/** The picture in a bitstream, by whichever model made it. */
export async function decompress(file, model, realism, signal) {
  const answer = await posted("decompress", { model, realism }, file, signal);
  return { ...answer, picture: blobOf(answer.picture, "image/png") };
}

/** A picture through another codec, at the size nearest to a number of bytes. */
export async function peer(file, name, size, signal) {
  const answer = await posted("peer", { name, size }, file, signal);
  return { ...answer, picture: blobOf(answer.picture, answer.type) };
}
