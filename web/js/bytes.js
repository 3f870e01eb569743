/**
 * The bytes of a file at an address: of a server, or, in Node, of the disk.
 *
 * @param {URL} address
 * @returns {Promise<ArrayBuffer>}
 */
export async function bytes(address) {
  if (address.protocol === "file:") {
    // Not imported: tools that make bundles for browsers would look for it.
    const content = await globalThis.process.getBuiltinModule("node:fs/promises").readFile(address);
    return content.buffer.slice(content.byteOffset, content.byteOffset + content.byteLength);
  }
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address.pathname.split("/").at(-1)}: the server answered ${answer.status}`);
  return answer.arrayBuffer();
}
