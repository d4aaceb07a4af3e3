// What the trials share: they tell the Go test that started them what they have
// shown ("- ..."), and ask it to kill and restore nodes ("? ...").
import { createInterface } from 'node:readline'

export const nodes = process.argv.slice(2).map((address) => {
  const [host, port] = address.split(':')
  return { host, port: Number(port) }
})

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]()

async function ask(question) {
  console.log('? ' + question)
  const { value, done } = await answers.next()
  if (done) throw new Error(`no answer to "${question}"`)
  return value
}

export const did = (what) => console.log('- ' + what)
export const killOwner = (key) => ask('kill ' + key)
export const restore = () => ask('restore')
// owned makes a key that a node owns.
export const owned = (prefix, node) => ask(`owned ${prefix} ${node}`)
export const ownerOf = async (key) => Number(await ask('owner ' + key))

// patiently is for a client that fails what it had queued for a node that is
// gone: an application sends that again.
export async function patiently(command) {
  for (let tries = 0; ; tries++) {
    try {
      return await command()
    } catch (err) {
      if (tries === 5) throw err
    }
  }
}

// everyday is what session libraries send, in words that both clients share.
export async function everyday(name, c, { queued = false } = {}) {
  const { deepStrictEqual: same } = await import('node:assert')
  for (let i = 0; i < 30; i++) {
    const key = `${name}-${i}`
    same(await c.setEx(key, 60, 'v'), 'OK')
    same(await c.get(key), 'v')
    same(await c.ttl(key), 60)
    same(await c.expire(key, 100), 1)
    same(await c.setNx(key, 'other'), null)
    same(await c.del(key), 1)
    same(await c.get(key), null)
  }
  did('SET EX, SET NX, GET, TTL, EXPIRE, DEL')
  same(await c.hset(name + '-hash', 'user', 'alice'), 1)
  same({ ...(await c.hgetall(name + '-hash')) }, { user: 'alice' })
  did('HSET, HGETALL')
  const key = await owned(name + '-login-', 1)
  same(await c.setEx(key, 60, 'alice'), 'OK')
  await killOwner(key)
  same(await (queued ? patiently(() => c.get(key)) : c.get(key)), 'alice')
  same(await c.expire(key, 3600), 1)
  same(await c.del(key), 1)
  await restore()
  same(await c.get(key), null)
  if (queued) did('a command that was queued for a killed owner fails, the next one is answered')
  did('log in, owner killed, still logged in, touch, log out, owner back, stays out')
}

// others are other users, whose commands go on: by their answers a cluster
// client learns that a node is gone.
export function others(c) {
  let i = 0
  setInterval(() => c.get('other-' + (i++ % 1000)).catch(() => {}), 2)
}
