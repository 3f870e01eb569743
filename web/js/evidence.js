/** What the cloud's item-item scores change in a ranking. Mirrors device/evidence.py. */

/** s + max(0, base + per_log_click ln n) asinh(p / scale), for the device's scores s and the cloud's p of n clicks. */
export function fuse(device, cloud, clicks, { base, per_log_click, scale }) {
  // Never against the cloud's own order: a long history could otherwise turn the sign.
  const weight = Math.max(base + per_log_click * Math.log(Math.max(clicks, 1)), 0);
  return device.map((s, i) => s + weight * Math.asinh(cloud[i] / scale));
}
