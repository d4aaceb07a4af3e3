import { deepStrictEqual as same } from 'node:assert'
import { Redis } from 'ioredis'
import { did, nodes } from './trial.mjs'
import { trial } from './ioredis-common.mjs'

const c = new Redis(nodes[0])
const subscriber = new Redis(nodes[2])
const message = new Promise((resolve) => subscriber.on('message', (channel, text) => resolve([channel, text])))
await subscriber.subscribe('news')
same(await c.publish('news', 'hello'), 1)
same(await message, ['news', 'hello'])
subscriber.disconnect()
did('PUBLISH to a subscriber on another node')
await trial('ioredis', c)
