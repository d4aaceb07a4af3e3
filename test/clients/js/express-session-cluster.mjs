import { createCluster } from 'redis'
import { nodes } from './trial.mjs'
import { trial } from './express-common.mjs'
import { url } from './node-redis-common.mjs'

await trial(createCluster({ rootNodes: nodes.map((node) => ({ url: url(node) })) }), true)
