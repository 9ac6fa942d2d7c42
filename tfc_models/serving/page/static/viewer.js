// Comparison of two images of equal size with a movable divider.

const element = (id) => document.getElementById(id);

export class Viewer {
  #urls = new Map(); // Object URLs by key.
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

  /** Removes all images. The next ones have this size. */
  reset(width, height) {
    for (const key of [...this.#urls.keys()]) this.remove(key);
    this.#width = width;
    this.#stage.style.setProperty("--ratio", width / height);
    this.#stage.style.setProperty("--columns", width);
    this.#scale();
  }

  /** Adds or replaces an image, unless the signal is aborted. */
  async set(key, label, blob, signal) {
    const url = URL.createObjectURL(blob);
    const image = new Image();
    image.src = url;
    await image.decode(); // Decoding before showing avoids flicker.
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

  /** Removes an image. */
  remove(key) {
    URL.revokeObjectURL(this.#urls.get(key));
    this.#urls.delete(key);
    for (const select of [this.#left, this.#right]) {
      [...select.options].find((o) => o.value === key)?.remove();
    }
    this.#show();
  }

  /** Selects the left and the right image. */
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
    // An image pixel is one device pixel, or a square of them.
    const width = (this.#width * zoom) / window.devicePixelRatio;
    this.#stage.style.setProperty("--zoomed", `${width}px`);
    const viewport = element("viewport");
    viewport.scrollLeft = (viewport.scrollWidth - viewport.clientWidth) / 2;
    viewport.scrollTop = (viewport.scrollHeight - viewport.clientHeight) / 2;
  }
}
