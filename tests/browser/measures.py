"""What is measured in the page itself, as JavaScript."""

#: Every element that holds text of its own and is seen: its contrast with what is behind it, by WCAG 2.
CONTRASTS = """() => {
  const channel = value => value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const parse = text => {
    const numbers = (text.match(/[\\d.]+/g) || []).map(Number);
    const scale = text.startsWith("color(") ? 1 : 255;
    return {rgb: numbers.slice(0, 3).map(value => value / scale), alpha: numbers.length > 3 ? numbers[3] : 1};
  };
  const luminance = rgb => {
    const [red, green, blue] = rgb.map(channel);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const over = (top, below) => top.rgb.map((value, at) => value * top.alpha + below[at] * (1 - top.alpha));
  const canvas = matchMedia("(prefers-color-scheme: dark)").matches ? [0.07, 0.07, 0.07] : [1, 1, 1];
  const behind = element => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.alpha > 0) layers.push(colour);
      if (colour.alpha === 1) break;
    }
    return layers.reverse().reduce((below, layer) => over(layer, below), canvas);
  };
  const own = element => [...element.childNodes]
    .filter(node => node.nodeType === 3).map(node => node.data).join("").trim();
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    if (!own(element) || !element.checkVisibility({visibilityProperty: true})) continue;
    if (element.closest("svg, script, [disabled]")) continue;
    const style = getComputedStyle(element), below = behind(element);
    const mine = luminance(over(parse(style.color), below)), theirs = luminance(below);
    const ratio = (Math.max(mine, theirs) + 0.05) / (Math.min(mine, theirs) + 0.05);
    const size = parseFloat(style.fontSize), bold = Number(style.fontWeight) >= 700;
    const least = size >= 24 || (bold && size >= 18.66) ? 3 : 4.5;
    found.push({text: own(element).slice(0, 40), ratio, least});
  }
  return found;
}"""

#: What reaches beyond the page's right edge, and is not inside something that scrolls by itself.
TOO_WIDE = """() => {
  const scrolls = element => {
    for (let at = element.parentElement; at !== document.body; at = at.parentElement) {
      if (getComputedStyle(at).overflowX !== "visible") return true;
    }
    return false;
  };
  return [...document.querySelectorAll("body *")]
    .filter(element => element.checkVisibility() && !scrolls(element))
    .filter(element => element.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
    .map(element => element.tagName + "." + element.className);
}"""

#: What is used or seen and has no name for a screen reader.
UNNAMED = """() => [...document.querySelectorAll("button, input, canvas, table, section")]
  .filter(one => one.checkVisibility() && !one.matches("[aria-hidden=true]"))
  .filter(one => !(one.ariaLabel || one.getAttribute("aria-labelledby") || one.innerText
    || (one.labels && one.labels.length) || one.caption))
  .map(one => one.outerHTML.slice(0, 80))"""

#: Different values among a picture's pixels; a blank one has one or two.
N_SHADES = """picture => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [picture.width, picture.height];
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  return new Set(context.getImageData(0, 0, canvas.width, canvas.height).data).size;
}"""

#: Widths of pictures once they are decoded, which those further down are when they are come to.
WIDTHS = """images => Promise.all(images.map(async image => {
  image.loading = "eager";
  await image.decode();
  return image.naturalWidth;
}))"""
