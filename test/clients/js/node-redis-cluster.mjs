import { createCluster } from 'redis'
import { nodes, others } from './trial.mjs'
import { trial, url } from './node-redis-common.mjs'

const c = createCluster({ rootNodes: nodes.map((node) => ({ url: url(node) })) })
await trial('node-redis-cluster', c, () => others(c))
