/** What others may use of this package; docs/native.md and the README say how. */

export { Artifact } from "./artifact.js";
export { Session } from "./session.js";
