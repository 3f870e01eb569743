export { Artifact } from "./artifact.js";
export { Session } from "./session.js";
