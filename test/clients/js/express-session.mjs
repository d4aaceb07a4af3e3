import { createClient } from 'redis'
import { nodes } from './trial.mjs'
import { trial } from './express-common.mjs'
import { url } from './node-redis-common.mjs'

await trial(createClient({ url: url(nodes[0]) }), false)
