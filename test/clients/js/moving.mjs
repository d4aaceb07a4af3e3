// A web application with logins whose sessions are at the Redis of REDIS_URL. It
// listens on PORT.
import { createClient } from 'redis'
import { RedisStore } from 'connect-redis'
import express from 'express'
import session from 'express-session'

const client = createClient({ url: process.env.REDIS_URL })
client.on('error', (err) => console.error(String(err)))
await client.connect()
const app = express()
app.use(session({ store: new RedisStore({ client }), secret: 'a secret of these tests', resave: false, saveUninitialized: false, cookie: { maxAge: 600_000 } }))
const said = (s) => `${s.user ?? ''} ${s.visits ?? 0}`
app.get('/login', (req, res, next) => {
  req.session.regenerate((err) => {
    if (err) return next(err)
    Object.assign(req.session, { user: req.query.user, visits: 0 })
    res.send(said(req.session))
  })
})
app.get('/visit', (req, res) => {
  req.session.visits = (req.session.visits ?? 0) + 1
  res.send(said(req.session))
})
app.get('/logout', (req, res, next) => req.session.destroy((err) => (err ? next(err) : res.send(' 0'))))
app.listen(Number(process.env.PORT), '127.0.0.1')
