// From any picture of a digit to what LeNet-5 was trained on: 32 x 32 pixels of 0 to 255, white on black, the ink scaled
// to a box of fixed size and its centre of mass in the middle, as in MNIST.

export const SIDE = 32;

/** MNIST's digits fill 20 of 28 pixels; here the 28 are 32. */
const BOX = (20 * SIDE) / 28;
/** Ink fainter than this share of the darkest does not count for the box. */
const FAINT = 0.15;

/**
 * @param {Float32Array} ink how much ink is on each pixel, any scale, rows one after the other
 * @returns {Float32Array | null} the network's input; null if there is no ink
 */
export function toInput(ink, width, height) {
  const most = ink.reduce((a, b) => Math.max(a, b), 0);
  const box = most > 0 ? inkBox(ink, width, height, FAINT * most) : null;
  if (!box) return null;
  const scale = Math.max(box.width, box.height) / BOX; // pixels of the picture per pixel of the result
  const centre = massCentre(ink, width, box);
  const left = centre.x - (SIDE / 2) * scale;
  const top = centre.y - (SIDE / 2) * scale;
  const shrunk = resample(cropped(ink, width, height, box), width, height, left, top, scale);
  return shrunk.map((value) => Math.min(255, (255 * value) / most));
}

/**
 * The ink of a picture of RGBA bytes: dark on light or light on dark, told by its border, without the shade of the paper.
 */
export function inkOf(rgba, width, height) {
  const grey = new Float32Array(width * height);
  for (let i = 0; i < grey.length; i++) {
    const [r, g, b, a] = rgba.subarray(4 * i, 4 * i + 4);
    grey[i] = ((0.299 * r + 0.587 * g + 0.114 * b) * a + 255 * (255 - a)) / 255; // on white, where transparent
  }
  const paper = median(border(grey, width, height));
  const darkest = grey.reduce((a, b) => Math.min(a, b), 255);
  const lightest = grey.reduce((a, b) => Math.max(a, b), 0);
  const sign = paper - darkest > lightest - paper ? 1 : -1;
  const noise = 0.2 * Math.max(paper - darkest, lightest - paper);
  return grey.map((value) => Math.max(0, sign * (paper - value) - noise));
}

function inkBox(ink, width, height, least) {
  let [left, top, right, bottom] = [width, height, -1, -1];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (ink[y * width + x] <= least) continue;
      [left, right] = [Math.min(left, x), Math.max(right, x)];
      [top, bottom] = [Math.min(top, y), Math.max(bottom, y)];
    }
  }
  return right < 0 ? null : { left, top, width: right - left + 1, height: bottom - top + 1 };
}

function massCentre(ink, width, box) {
  let [mass, x, y] = [0, 0, 0];
  for (let row = box.top; row < box.top + box.height; row++) {
    for (let column = box.left; column < box.left + box.width; column++) {
      const value = ink[row * width + column];
      mass += value;
      x += value * (column + 0.5);
      y += value * (row + 0.5);
    }
  }
  return { x: x / mass, y: y / mass };
}

function cropped(ink, width, height, box) {
  const kept = new Float32Array(width * height);
  for (let y = box.top; y < box.top + box.height; y++) {
    const start = y * width + box.left;
    kept.set(ink.subarray(start, start + box.width), start);
  }
  return kept;
}

/** Each pixel of the result is the mean of the square of the picture under it, first along rows, then along columns. */
function resample(ink, width, height, left, top, scale) {
  const across = coverage(left, scale, width);
  const down = coverage(top, scale, height);
  const rows = new Float32Array(height * SIDE);
  for (let y = 0; y < height; y++) {
    for (let i = 0; i < SIDE; i++) {
      for (const [x, share] of across[i]) rows[y * SIDE + i] += share * ink[y * width + x];
    }
  }
  const result = new Float32Array(SIDE * SIDE);
  for (let j = 0; j < SIDE; j++) {
    for (const [y, share] of down[j]) {
      for (let i = 0; i < SIDE; i++) result[j * SIDE + i] += share * rows[y * SIDE + i];
    }
  }
  return result;
}

/** For each pixel of the result along one axis, the pixels under it and their shares; a pixel at least, if enlarged. */
function coverage(start, scale, size) {
  return Array.from({ length: SIDE }, (_, i) => {
    const wide = Math.max(1, scale);
    const from = start + (i + 0.5) * scale - wide / 2;
    const shares = [];
    for (let x = Math.max(0, Math.floor(from)); x < Math.min(size, from + wide); x++) {
      const part = Math.min(x + 1, from + wide) - Math.max(x, from);
      if (part > 0) shares.push([x, part / wide]);
    }
    return shares;
  });
}

function border(grey, width, height) {
  const found = [];
  for (let x = 0; x < width; x++) found.push(grey[x], grey[(height - 1) * width + x]);
  for (let y = 0; y < height; y++) found.push(grey[y * width], grey[y * width + width - 1]);
  return found;
}

function median(values) {
  return values.sort((a, b) => a - b)[values.length >> 1];
}
