export class Session {
    /**
     * Fetch an artifact, and open a session on it.
     *
     * @param {URL | string} folder The artifact's address.
     * @param {object} [options]
     * @param {"window" | "carry"} [options.policy]
     * @param {ArrayBuffer} [options.state] What {@link save} gave, here or in Python, to go on from.
     * @param {"native" | "onnx"} [options.runtime]
     * @param {() => Promise<any>} [options.onnx] As in {@link Artifact.fetch}.
     * @returns {Promise<Session>}
     */
    static open(folder: URL | string, { policy, state, ...options }?: {
        policy?: "window" | "carry";
        state?: ArrayBuffer;
        runtime?: "native" | "onnx";
        onnx?: () => Promise<any>;
    }): Promise<Session>;
    /**
     * @param {Artifact} artifact
     * @param {"window" | "carry"} [policy] The artifact's, if left out.
     */
    constructor(artifact: Artifact, policy?: "window" | "carry");
    /** @type {Artifact} */
    artifact: Artifact;
    /**
     * What becomes of clicks older than the window.
     * @type {"window" | "carry"}
     */
    policy: "window" | "carry";
    /** Whether rankings use a correction; the next click ends that. */
    corrected: boolean;
    /** Known clicks read so far. */
    get clicks(): number;
    /**
     * User vector after the last click, a copy.
     * @returns {Float32Array}
     */
    get userVector(): Float32Array;
    /**
     * Read one click.
     *
     * @param {string} token
     * @returns {Promise<boolean>} False for an item that is not in the catalogue: nothing has changed then.
     */
    click(token: string): Promise<boolean>;
    /**
     * Read many clicks at once, after those already read.
     *
     * @param {string[]} tokens Oldest first.
     * @returns {Promise<string[]>} Those that are not in the catalogue, each once; they were left out.
     */
    history(tokens: string[]): Promise<string[]>;
    /**
     * The best items of the whole catalogue.
     *
     * @param {number} [k] How many, at most.
     * @param {string[]} [exclude] Items to leave out.
     * @param {object} [options]
     * @param {boolean} [options.neighbours] Whether the artifact's neighbour table, where it has one, adds its scores.
     * @returns {Ranked[]} Best first.
     */
    rankAll(k?: number, exclude?: string[], { neighbours }?: {
        neighbours?: boolean;
    }): Ranked[];
    /**
     * The best of some candidates.
     *
     * @param {string[]} candidates
     * @param {number} k How many, at most.
     * @param {string[]} [exclude] Items to leave out.
     * @param {Evidence | null} [evidence] Takes the place of the scores of the artifact's neighbour table.
     * @returns {Ranked[]} Best first.
     */
    rank(candidates: string[], k: number, exclude?: string[], evidence?: Evidence | null): Ranked[];
    /**
     * X of the last clicks, at most as many as the window holds, oldest first, and which clicks they are of.
     *
     * @returns {{rows: Float32Array, clicks: number, fingerprint: string}}
     */
    hiddenStates(): {
        rows: Float32Array;
        clicks: number;
        fingerprint: string;
    };
    /**
     * Use a correction until the next click. One that does not fit is an error, and the session goes on as it was.
     *
     * @param {ArrayBuffer} body A^ and then B^, float32.
     * @param {number} clicks How many clicks its hidden states were of.
     * @param {string | null} fingerprint Of the model that made it.
     * @returns {Promise<void>}
     */
    apply(body: ArrayBuffer, clicks: number, fingerprint: string | null): Promise<void>;
    /** Rank without a correction that was applied. */
    withoutCorrection(): void;
    /**
     * What a state file of the Python package holds; either package goes on from what the other one saved.
     *
     * @returns {Promise<ArrayBuffer>}
     */
    save(): Promise<ArrayBuffer>;
    #private;
}
export type Ranked = {
    /**
     * The item.
     */
    token: string;
    /**
     * Its score.
     */
    score: number;
};
/**
 * The cloud's item-item scores.
 */
export type Evidence = {
    /**
     * By token; a candidate without a score counts 0.
     */
    scores: Map<string, number>;
    /**
     * How many clicks they are of.
     */
    clicks: number;
    /**
     * Fingerprint of what made them.
     */
    corrector: string;
};
import { Artifact } from "./artifact.js";
