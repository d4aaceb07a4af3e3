package main

import (
	"context"
	"time"
)

// peace is no attack: what the machine and the cluster give without one.
var peace = attack{
	number: 0, name: "none", title: "no attack: what this machine gives",
	run: func(ctx context.Context, _ *stage) error { <-ctx.Done(); return nil },
}

var attacks = []attack{
	{number: 1, name: "work", title: "one client sends what costs much, and leaves at once", prepare: prepareWork, run: runWork, leaves: true, least: 8 * time.Second},
	{number: 2, name: "rejoin", title: "slow operations while a node comes back", prepare: prepareRejoin, run: runRejoin, setup: setup{lossy: true}},
	{number: 3, name: "flood", title: "twelve large PATCHes at once through the router, whose clients leave", share: floodBar, leaves: true, prepare: prepareFlood, run: runFlood},
	{number: 4, name: "peer", title: "a stranger at the peer port: forged claims, frames that lie", run: runPeer},
	{number: 4, name: "gossip", title: "a stranger at the gossip port without a key: packets that grow", run: runGossip, setup: setup{openGossip: true}},
	{number: 5, name: "identity", title: "visitors who say that they are alice, -trust none", run: runIdentity, setup: setup{app: true, flags: []string{"-trust", "none"}}},
	{number: 6, name: "memory", title: "growth, rotates, and logouts of what never was, against -memory 64MiB", stored: true, least: 15 * time.Second, leastFull: 40 * time.Second, run: runMemory, setup: setup{memory: 64 * mebibyte}},
	{number: 7, name: "auth", title: "a byte now and then before AUTH, and guesses of the password", least: 14 * time.Second, leastFull: 20 * time.Second, run: runAuth, setup: setup{password: "correct-horse-battery", nodeFlags: []string{"-resp-max-clients", "700"}}},
	{number: 8, name: "slow", title: "slow bodies, slow readers, idle connections; and an upload that is slow and steady", least: 14 * time.Second, leastFull: 130 * time.Second, run: runSlow, prepare: prepareSlow, setup: setup{app: true}},
	{number: 9, name: "web", title: "cross-site requests and foreign Host names", run: runWeb, setup: setup{app: true}},
	{number: 10, name: "flush", title: "SELECT 1 refused, then FLUSHDB", run: runFlush},
}
