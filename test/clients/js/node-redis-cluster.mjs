import { createCluster } from 'redis'
import { nodes } from './trial.mjs'
import { trial, url } from './node-redis-common.mjs'

await trial('node-redis-cluster', createCluster({ rootNodes: nodes.map((node) => ({ url: url(node) })) }))
