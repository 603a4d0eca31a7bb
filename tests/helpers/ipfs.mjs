// What the JavaScript implementations of IPFS make of a file:
//   node ipfs.mjs import OPTIONS FILE...  the CIDs that ipfs-unixfs-importer gives
//   node ipfs.mjs car FILE                roots and blocks by @ipld/car, each block's hash checked
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { CarBlockIterator } from '@ipld/car'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
import { balanced } from 'ipfs-unixfs-importer/layout'
import { importer } from 'ipfs-unixfs-importer'

const [verb, ...args] = process.argv.slice(2)
if (verb === 'import') {
  const { chunkSize, maxChildrenPerNode, ...options } = JSON.parse(args[0])
  if (chunkSize) options.chunker = fixedSize({ chunkSize })
  if (maxChildrenPerNode) options.layout = balanced({ maxChildrenPerNode })
  const store = { put: async (cid) => cid }
  for (const file of args.slice(1)) {
    for await (const { cid } of importer([{ content: createReadStream(file) }], store, options)) {
      console.log(cid.toString())
    }
  }
} else {
  const blocks = await CarBlockIterator.fromIterable(createReadStream(args[0]))
  const roots = (await blocks.getRoots()).map(String)
  const cids = []
  for await (const { cid, bytes } of blocks) {
    const digest = createHash('sha256').update(bytes).digest()
    if (Buffer.compare(digest, cid.multihash.digest) !== 0) throw new Error(`not ${cid}`)
    cids.push(cid.toString())
  }
  console.log(JSON.stringify({ roots, cids }))
}
