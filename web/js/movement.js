/** How a move in a list is shown: [class, text, what a screen reader says]. */
export function movement(places) {
  if (places === null) return ["new", "new", "new"];
  if (places === 0) return ["same", "–", "not moved"];
  return places > 0 ? ["up", `▲ ${places}`, `up ${places}`] : ["down", `▼ ${-places}`, `down ${-places}`];
}
