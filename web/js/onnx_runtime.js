/** ONNX Runtime Web as the page is served it; megabytes, so it is loaded where the C library does not do. */
export async function onnxRuntime() {
  const ort = await import("../runtime/ort.wasm.bundle.min.mjs");
  ort.env.wasm.numThreads = 1; // one click is too little work for more
  ort.env.wasm.wasmPaths = { wasm: new URL("../runtime/ort-wasm-simd-threaded.wasm", import.meta.url).href };
  return ort;
}
