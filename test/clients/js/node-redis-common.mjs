import { deepStrictEqual as same } from 'node:assert'
import { did, everyday } from './trial.mjs'

export const url = (node) => `redis://${node.host}:${node.port}`

const words = (c) => ({
  setEx: (key, seconds, value) => c.set(key, value, { expiration: { type: 'EX', value: seconds } }),
  setNx: (key, value) => c.set(key, value, { expiration: { type: 'EX', value: 60 }, condition: 'NX' }),
  get: (key) => c.get(key),
  ttl: (key) => c.ttl(key),
  expire: (key, seconds) => c.expire(key, seconds),
  del: (key) => c.del(key),
  hset: (key, field, value) => c.hSet(key, field, value),
  hgetall: (key) => c.hGetAll(key),
})

export async function trial(name, c, connected) {
  c.on('error', () => {}) // the killed node's; the client connects again
  await c.connect()
  connected?.()
  same(await c.multi().set(name + '-tx', 'v').get(name + '-tx').exec(), ['OK', 'v'])
  did('MULTI, EXEC')
  await everyday(name, words(c), { queued: connected !== undefined })
  c.destroy()
  process.exit(0)
}
