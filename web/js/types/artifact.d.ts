export class Artifact {
    /**
     * Everything is fetched here, so that no click needs the network.
     *
     * @param {URL | string} folder The artifact's address, of a server or, in Node, a file: address.
     * @param {object} [options]
     * @param {"native" | "onnx"} [options.runtime] What computes. Left out: the C library where the artifact is a CoCorrRec
     *   with weights for it, otherwise ONNX Runtime Web.
     * @param {() => Promise<any>} [options.onnx] Loads ONNX Runtime Web, where it is needed:
     *   `() => import("onnxruntime-web/wasm")`.
     * @returns {Promise<Artifact>}
     */
    static fetch(folder: URL | string, { runtime, onnx }?: {
        runtime?: "native" | "onnx";
        onnx?: () => Promise<any>;
    }): Promise<Artifact>;
    /**
     * What the artifact says of itself (docs/device.md).
     * @type {Record<string, any>}
     */
    manifest: Record<string, any>;
    /**
     * What computes: the C library in WebAssembly, or ONNX Runtime Web.
     * @type {"native" | "onnx"}
     */
    runtime: "native" | "onnx";
    /** @private */
    private graphs;
    /** @private */
    private native;
    ort: any;
    /** @private */
    private tensor;
    #private;
}
