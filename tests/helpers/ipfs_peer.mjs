// A real IPFS peer for the tests: Helia, on loopback.
//
//   node tests/ipfs_peer.mjs [MULTIADDR …]    dials these peers, and says where it listens
//
// It speaks libp2p and bitswap, and over HTTP what Kubo does of the same paths:
//
//   GET  /ipfs/CID[/path]       with ranges; ?format=raw and ?format=car, or by Accept
//   POST /api/v0/add            multipart; cid-version, raw-leaves, chunker, max-file-links,
//                               only-hash, pin
//   POST /api/v0/dag/import     multipart, a CAR
//   POST /api/v0/cat            offset, length
//   POST /api/v0/block/stat, pin/add, pin/ls, version
//
// It ends when its standard input does, and after an hour at the latest. It keeps all in memory.

import http from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { withBitswap } from '@helia/bitswap'
import { car } from '@helia/car'
import { withLibp2pLight } from '@helia/libp2p'
import { unixfs } from '@helia/unixfs'
import { CarReader } from '@ipld/car'
import { identify } from '@libp2p/identify'
import { tcp } from '@libp2p/tcp'
import { multiaddr } from '@multiformats/multiaddr'
import { createHeliaLight } from 'helia'
import { importer } from 'ipfs-unixfs-importer'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
import { balanced } from 'ipfs-unixfs-importer/layout'
import { base16 } from 'multiformats/bases/base16'
import { CID } from 'multiformats/cid'

const LIFETIME = 60 * 60 * 1000
const FIND_TIMEOUT = 2000 // for a block that no peer may have
const MAX_UPLOAD = 1 << 28
const MAX_BLOCK = 1 << 21
const RAW = 'application/vnd.ipld.raw'
const CAR = 'application/vnd.ipld.car'

// What Kubo's gateway answers where no peer has a block, and where none was to be asked.
const MISSING = new Map([
  ['LoadBlockFailedError', 504], ['TimeoutError', 504], ['AbortError', 504],
  ['BlockNotFoundWhileOfflineError', 412]
])

class Refusal extends Error {
  constructor (status, message) {
    super(message)
    this.status = status
  }
}

const node = withBitswap(withLibp2pLight(createHeliaLight(), {
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  services: { identify: identify() },
  peerDiscovery: []
}))
const files = unixfs(node)
const cars = car(node)

// -- Gateway -------------------------------------------------------------------------------------

async function gateway (request, response, url) {
  const [text, ...path] = url.pathname.slice('/ipfs/'.length).split('/').map(decodeURIComponent)
  const root = parsed(text)
  const signal = AbortSignal.timeout(FIND_TIMEOUT)
  const offline = request.headers['cache-control'] === 'only-if-cached'
  const cid = path.some(Boolean)
    ? (await files.stat(root, { path: path.filter(Boolean).join('/'), signal, offline })).cid
    : root
  const format = url.searchParams.get('format') ?? wanted(request.headers.accept ?? '')
  response.setHeader('X-Ipfs-Path', url.pathname)
  response.setHeader('Cache-Control', 'public, max-age=29030400, immutable')
  response.setHeader('X-Content-Type-Options', 'nosniff')
  response.setHeader('Etag', `"${cid}${format === '' ? '' : '.' + format}"`)
  if (format === 'raw') {
    const block = await joined(node.blockstore.get(cid, { signal, offline }))
    return send(request, response, RAW, block.length, (start, end) => [block.subarray(start, end)])
  }
  if (format === 'car') {
    response.setHeader('Content-Type', `${CAR}; version=1`)
    response.setHeader('Accept-Ranges', 'none')
    return pipeline(Readable.from(cars.export(cid, { signal, offline })), response)
  }
  if (format !== '') throw new Refusal(400, `no such format: ${format}`)
  const found = await files.stat(cid, { signal, offline })
  if (found.type === 'directory') throw new Refusal(501, 'directories are not listed')
  await send(request, response, 'application/octet-stream', Number(found.size), (start, end) =>
    files.cat(cid, { offset: start, length: end - start, signal, offline }))
}

function wanted (accept) {
  return accept.startsWith(RAW) ? 'raw' : accept.startsWith(CAR) ? 'car' : ''
}

function parsed (text) {
  try {
    return CID.parse(text, text.startsWith('f') ? base16 : undefined)
  } catch (error) {
    throw new Refusal(400, `no CID: ${error.message}`)
  }
}

// One range of RFC 9110, section 14; what is more is answered whole.
async function send (request, response, type, size, content) {
  let [start, end] = [0, size]
  const range = /^bytes=(\d*)-(\d*)$/.exec(request.headers.range ?? '')
  if (range && (range[1] || range[2])) {
    start = range[1] ? Number(range[1]) : Math.max(0, size - Number(range[2]))
    end = range[1] && range[2] ? Math.min(size, Number(range[2]) + 1) : size
    if (start >= end) {
      response.setHeader('Content-Range', `bytes */${size}`)
      throw new Refusal(416, 'no such range')
    }
    response.statusCode = 206
    response.setHeader('Content-Range', `bytes ${start}-${end - 1}/${size}`)
  }
  response.setHeader('Accept-Ranges', 'bytes')
  response.setHeader('Content-Type', type)
  response.setHeader('Content-Length', end - start)
  if (request.method === 'HEAD' || start === end) return response.end()
  await pipeline(Readable.from(content(start, end)), response)
}

async function joined (pieces) {
  const parts = []
  for await (const piece of pieces) parts.push(piece)
  return Buffer.concat(parts)
}

// -- Kubo's RPC ----------------------------------------------------------------------------------

async function add (request, response, options) {
  const cidVersion = Number(options.get('cid-version') ?? 0)
  const [chunker, chunkSize] = (options.get('chunker') ?? 'size-262144').split('-')
  if (chunker !== 'size' || !(chunkSize > 0 && chunkSize <= MAX_BLOCK)) {
    throw new Refusal(500, `chunker: ${options.get('chunker')}`)
  }
  const settings = {
    cidVersion,
    rawLeaves: (options.get('raw-leaves') ?? String(cidVersion === 1)) === 'true',
    chunker: fixedSize({ chunkSize: Number(chunkSize) }),
    layout: balanced({ maxChildrenPerNode: Number(options.get('max-file-links') ?? 174) }),
    reduceSingleLeafToSelf: true
  }
  const store = options.get('only-hash') === 'true' ? NOWHERE : node.blockstore
  const lines = []
  for (const file of await uploaded(request)) {
    let root
    for await (const entry of importer([{ content: file.stream() }], store, settings)) root = entry
    if (store !== NOWHERE && options.get('pin') !== 'false') await pin(root.cid)
    lines.push({ Name: file.name, Hash: String(root.cid), Size: String(root.size) })
  }
  answer(response, ...lines)
}

const NOWHERE = { put: async cid => cid }

async function uploaded (request) {
  const pieces = []
  let size = 0
  for await (const piece of request) {
    size += piece.length
    if (size > MAX_UPLOAD) throw new Refusal(413, `more than ${MAX_UPLOAD} bytes`)
    pieces.push(piece)
  }
  const headers = { 'Content-Type': request.headers['content-type'] ?? '' }
  try {
    const form = await new Response(Buffer.concat(pieces), { headers }).formData()
    return [...form.values()].filter(value => typeof value !== 'string')
  } catch (error) {
    throw new Refusal(400, `no multipart form: ${error.message}`)
  }
}

async function pin (cid) {
  if (await node.pins.isPinned(cid)) return
  for await (const _ of node.pins.add(cid, { signal: AbortSignal.timeout(FIND_TIMEOUT) })) ;
}

async function importCar (request, response) {
  const roots = []
  for (const file of await uploaded(request)) {
    const reader = await CarReader.fromIterable(file.stream())
    await cars.import(reader)
    roots.push(...await reader.getRoots())
  }
  for (const root of roots) await pin(root)
  answer(response, ...roots.map(root => ({ Root: { Cid: { '/': String(root) }, PinErrorMsg: '' } })))
}

async function blockStat (request, response, options) {
  const cid = parsed(options.get('arg') ?? '')
  const offline = options.get('offline') === 'true'
  const signal = AbortSignal.timeout(FIND_TIMEOUT)
  const block = await joined(node.blockstore.get(cid, { signal, offline }))
  answer(response, { Key: String(cid), Size: block.length })
}

async function cat (request, response, options) {
  const cid = parsed(options.get('arg') ?? '')
  const range = {}
  for (const name of ['offset', 'length']) {
    if (options.has(name)) range[name] = Number(options.get(name))
  }
  const signal = AbortSignal.timeout(FIND_TIMEOUT)
  response.setHeader('Content-Type', 'text/plain')
  await pipeline(Readable.from(files.cat(cid, { ...range, signal })), response)
}

async function pinAdd (request, response, options) {
  const cid = parsed(options.get('arg') ?? '')
  await pin(cid)
  answer(response, { Pins: [String(cid)] })
}

async function pinList (request, response, options) {
  const cids = []
  for await (const found of node.pins.ls()) cids.push(found.cid)
  const asked = options.get('arg')
  const shown = asked ? cids.filter(cid => cid.equals(parsed(asked))) : cids
  if (asked && !shown.length) throw new Refusal(500, `path '${asked}' is not pinned`)
  answer(response, { Keys: Object.fromEntries(shown.map(cid => [cid, { Type: 'recursive' }])) })
}

function answer (response, ...lines) {
  response.setHeader('Content-Type', 'application/json')
  response.end(lines.map(line => JSON.stringify(line) + '\n').join(''))
}

const COMMANDS = {
  add,
  'dag/import': importCar,
  'block/stat': blockStat,
  cat,
  'pin/add': pinAdd,
  'pin/ls': pinList,
  version: async (request, response) => answer(response, { Version: '0.0.0', System: 'helia' })
}

// -- Server --------------------------------------------------------------------------------------

async function serve (request, response) {
  const url = new URL(request.url, 'http://localhost')
  const command = COMMANDS[url.pathname.replace(/^\/api\/v0\//, '')]
  if (url.pathname.startsWith('/ipfs/')) {
    if (!['GET', 'HEAD'].includes(request.method)) throw new Refusal(405, 'GET or HEAD')
    return gateway(request, response, url)
  }
  if (!command) throw new Refusal(404, '404 page not found')
  if (request.method !== 'POST') throw new Refusal(405, '405 - Method Not Allowed')
  return command(request, response, url.searchParams)
}

function fail (request, response, error) {
  if (response.headersSent) return response.destroy()
  const command = request.url.startsWith('/api/')
  for (const name of ['Etag', 'Cache-Control', 'Content-Length']) response.removeHeader(name)
  response.statusCode = error.status ?? (command ? 500 : MISSING.get(error.name) ?? 500)
  if (!command) return response.end(`${error.message}\n`)
  answer(response, { Message: error.message, Code: 0, Type: 'error' })
}

process.stdin.on('end', () => process.exit()).resume()
setTimeout(() => process.exit(1), LIFETIME).unref()

await node.start()
for (const address of process.argv.slice(2)) await node.libp2p.dial(multiaddr(address))
const server = http.createServer((request, response) => {
  serve(request, response).catch(error => fail(request, response, error))
})
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({
  port: server.address().port,
  addresses: node.libp2p.getMultiaddrs().map(String)
})))
