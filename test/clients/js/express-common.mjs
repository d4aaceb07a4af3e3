// A web application with logins, and a browser that uses it through the end of
// the session's owner.
import { deepStrictEqual as same } from 'node:assert'
import { once } from 'node:events'
import { RedisStore } from 'connect-redis'
import express from 'express'
import session from 'express-session'
import { did, killOwner, others, ownerOf, patiently, restore } from './trial.mjs'

const prefix = 'sess:'

function application(store) {
  const app = express()
  app.use(session({ store, secret: 'a secret of these tests', resave: false, saveUninitialized: false, cookie: { maxAge: 600_000 } }))
  app.get('/login', (req, res, next) => {
    req.session.regenerate((err) => {
      if (err) return next(err)
      req.session.user = 'alice'
      res.send('alice')
    })
  })
  app.get('/logout', (req, res, next) => req.session.destroy((err) => (err ? next(err) : res.send(''))))
  app.get('/visit', (req, res) => {
    req.session.visits = (req.session.visits ?? 0) + 1
    res.send(String(req.session.visits))
  })
  app.get('/', (req, res) => res.send(req.session.user ?? ''))
  return app
}

const call = (store, method) => new Promise((resolve, reject) => store[method]((err, value) => (err ? reject(err) : resolve(value))))

export async function trial(client, shared) {
  client.on('error', () => {}) // the killed node's; the client connects again
  await client.connect()
  if (shared) others(client)
  const store = new RedisStore({ client, prefix })
  const server = application(store).listen(0, '127.0.0.1')
  await once(server, 'listening')
  let cookie = ''
  const get = async (path) => {
    const res = await fetch(`http://127.0.0.1:${server.address().port}${path}`, { headers: { cookie } })
    const text = await res.text()
    same(res.status, 200, text)
    for (const set of res.headers.getSetCookie()) cookie = set.split(';')[0]
    return text
  }
  let key
  do { // a plain client's own node must not be the one that is killed
    cookie = ''
    same(await get('/login'), 'alice')
    const id = decodeURIComponent(cookie.split('=')[1]).slice('s:'.length).split('.')[0]
    key = prefix + id
  } while (!shared && (await ownerOf(key)) === 0)
  same(await get('/'), 'alice')
  same(await get('/visit'), '1')
  same((await call(store, 'ids')).includes(key.slice(prefix.length)), true)
  same(await call(store, 'length'), (await call(store, 'all')).length)
  did('log in, touch, save, ids, length, all')
  await killOwner(key)
  same(await (shared ? patiently(() => get('/')) : get('/')), 'alice')
  same(await get('/visit'), '2')
  const stolen = cookie
  same(await get('/logout'), '')
  cookie = stolen
  same(await get('/'), '')
  await restore()
  cookie = stolen
  same(await get('/'), '')
  if (shared) did('a request that waits for a killed owner fails, the next one is answered')
  did('owner killed, still logged in, save, log out, owner back, stays out')
  await call(store, 'clear')
  same(await call(store, 'length'), 0)
  did('clear')
  process.exit(0)
}
