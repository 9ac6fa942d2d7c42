// Requests of the page to its server. Every failure is an Error with a one-line message.

async function request(path, options = {}) {
  let answer;
  try {
    answer = await fetch(`page/${path}`, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not respond.");
  }
  if (answer.ok) return answer;
  let message = "";
  try {
    message = (await answer.json()).error;
  } catch {
    // The response is not from this server, but from a proxy.
  }
  throw new Error(message || `The server responded ${answer.status} ${answer.statusText}.`);
}

async function posted(path, parameters, body, signal) {
  const query = new URLSearchParams(parameters);
  const answer = await request(`${path}?${query}`, { method: "POST", body, signal });
  return answer.json();
}

function blobOf(text, type) {
  return new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], { type });
}

/** Returns the codecs, the maximum file size, and the metrics of the table. */
export async function served() {
  return (await request("models")).json();
}

/** Returns the names of the sample images. */
export async function sampleNames() {
  return (await (await request("samples")).json()).samples;
}

export function sampleAddress(name) {
  return `page/samples/${encodeURIComponent(name)}`;
}

/** Returns a sample image as a file. */
export async function sample(name) {
  const blob = await (await request(`samples/${encodeURIComponent(name)}`)).blob();
  return new File([blob], name, { type: blob.type });
}

/** Returns the image of a file, upright and in sRGB. */
export async function picture(file, signal) {
  const answer = await posted("picture", {}, file, signal);
  return { ...answer, picture: blobOf(answer.picture, "image/png") };
}

/** Compresses an image with a model: the bitstream, the decompressed image, size and quality. */
export async function compress(file, model, quality, decoding, signal) {
  const parameters = { model, ...(quality === null ? {} : { quality }), ...decoding };
  const answer = await posted("compress", parameters, file, signal);
  return {
    ...answer,
    picture: blobOf(answer.picture, "image/png"),
    bitstream: blobOf(answer.bitstream, "application/octet-stream"),
  };
}

/** Decompresses a bitstream with the model that compressed it. */
export async function decompress(file, model, decoding, signal) {
  const answer = await posted("decompress", { model, ...decoding }, file, signal);
  return { ...answer, picture: blobOf(answer.picture, "image/png") };
}

/** Compresses an image with another codec to the nearest size. */
export async function peer(file, name, size, signal) {
  const answer = await posted("peer", { name, size }, file, signal);
  return { ...answer, picture: blobOf(answer.picture, answer.type) };
}
