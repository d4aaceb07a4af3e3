import { deepStrictEqual as same } from 'node:assert'
import { did, everyday } from './trial.mjs'

export const words = (c) => ({
  setEx: (key, seconds, value) => c.set(key, value, 'EX', seconds),
  setNx: (key, value) => c.set(key, value, 'EX', 60, 'NX'),
  get: (key) => c.get(key),
  ttl: (key) => c.ttl(key),
  expire: (key, seconds) => c.expire(key, seconds),
  del: (key) => c.del(key),
  hset: (key, field, value) => c.hset(key, field, value),
  hgetall: (key) => c.hgetall(key),
})

export async function trial(name, c) {
  same(await c.multi().set(name + '-tx', 'v').get(name + '-tx').exec(), [[null, 'OK'], [null, 'v']])
  did('MULTI, EXEC')
  await everyday(name, words(c))
  c.disconnect()
  process.exit(0)
}
