// Two pictures of one size, one over the other, cut at a line that moves.

const element = (id) => document.getElementById(id);

export class Viewer {
  #urls = new Map(); // by key
  #width = 1;
  #stage = element("stage");
  #left = element("left");
  #right = element("right");
  #split = element("split");

  constructor() {
    this.#split.addEventListener("input", () => this.#cut());
    for (const select of [this.#left, this.#right]) {
      select.addEventListener("change", () => this.#show());
    }
    element("zoom").addEventListener("change", () => this.#scale());
    this.#cut();
  }

  /** Forgets its pictures; the next ones are of this size. */
  reset(width, height) {
    for (const key of [...this.#urls.keys()]) this.remove(key);
    this.#width = width;
    this.#stage.style.setProperty("--ratio", width / height);
    this.#stage.style.setProperty("--columns", width);
    this.#scale();
  }

  /** Adds a picture, or puts another in its place, unless it is no longer wanted. */
  async set(key, label, blob, signal) {
    const url = URL.createObjectURL(blob);
    const image = new Image();
    image.src = url;
    await image.decode(); // Before it is shown, so that nothing flickers.
    if (signal.aborted) {
      URL.revokeObjectURL(url);
      signal.throwIfAborted();
    }
    const old = this.#urls.get(key);
    this.#urls.set(key, url);
    if (old) URL.revokeObjectURL(old);
    for (const select of [this.#left, this.#right]) {
      const option = [...select.options].find((o) => o.value === key);
      if (option) option.text = label;
      else select.add(new Option(label, key));
    }
    this.#show();
  }

  /** Takes a picture away. */
  remove(key) {
    URL.revokeObjectURL(this.#urls.get(key));
    this.#urls.delete(key);
    for (const select of [this.#left, this.#right]) {
      [...select.options].find((o) => o.value === key)?.remove();
    }
    this.#show();
  }

  /** Which pictures are on the left and on the right. */
  choose(left, right) {
    this.#left.value = left;
    this.#right.value = right;
    this.#show();
  }

  url(key) {
    return this.#urls.get(key);
  }

  #show() {
    this.#put(element("over"), this.#left);
    this.#put(element("under"), this.#right);
    const alone = this.#urls.size < 2;
    this.#stage.classList.toggle("alone", alone);
    this.#left.hidden = this.#right.hidden = alone;
  }

  #put(image, select) {
    const url = this.#urls.get(select.value);
    if (!url) image.removeAttribute("src");
    else if (image.src !== url) image.src = url;
    image.alt = url ? select.selectedOptions[0].text : "";
  }

  #cut() {
    this.#stage.style.setProperty("--split", `${this.#split.value}%`);
    this.#split.setAttribute("aria-valuetext", `${Math.round(this.#split.value)} percent`);
  }

  #scale() {
    const zoom = Number(element("zoom").querySelector(":checked").value);
    this.#stage.classList.toggle("zoomed", zoom > 0);
    this.#stage.classList.toggle("pixels", zoom > 1);
    // A pixel of the picture is one of the screen, or a square of them.
    const width = (this.#width * zoom) / window.devicePixelRatio;
    this.#stage.style.setProperty("--zoomed", `${width}px`);
    const viewport = element("viewport");
    viewport.scrollLeft = (viewport.scrollWidth - viewport.clientWidth) / 2;
    viewport.scrollTop = (viewport.scrollHeight - viewport.clientHeight) / 2;
  }
}
