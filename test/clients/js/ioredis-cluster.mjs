import { Cluster } from 'ioredis'
import { nodes } from './trial.mjs'
import { trial } from './ioredis-common.mjs'

await trial('ioredis-cluster', new Cluster(nodes))
