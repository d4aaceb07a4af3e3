import { createClient } from 'redis'
import { nodes } from './trial.mjs'
import { trial, url } from './node-redis-common.mjs'

await trial('node-redis', createClient({ url: url(nodes[0]) }))
