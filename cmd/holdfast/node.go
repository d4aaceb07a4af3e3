package main

import (
	"context"
	"crypto/tls"
	"time"

	"github.com/redis/go-redis/v9/logging"

	"github.com/seed-95a32959/holdfast/node"
	"github.com/seed-95a32959/holdfast/session"
)

type nodeCommand struct {
	placeFlags

	Weight weight `group:"Identity" placeholder:"NUMBER" default:"1" help:"Share of the sessions beside that of other nodes, 0.1 to 10 in steps of 0.01: with 2 this node owns twice as many as one with 1. Each node may have its own; it counts once every member is of a version that knows of it."`

	Peer hostPort `group:"Addresses" placeholder:"HOST:PORT" default:"127.0.0.1:8083" help:"Address of the link between nodes: copies, hand-over, forwarded requests."`
	RESP hostPort `name:"resp" group:"Addresses" placeholder:"HOST:PORT" default:"127.0.0.1:8082" help:"Address of the Redis protocol, for session libraries that talk to Redis."`

	Expect int `group:"Addresses" placeholder:"N" help:"Nodes that see each other found a cluster where none of them knows of one: more than half of all that there will be. Default: more than half of the addresses of -join and this node's own, so 1 without -join; such a node, unless -expect says 1, waits a second for a cluster that knows its address. Where -join has one name for many nodes, give it."`

	Ack           ackMode       `group:"Sessions" placeholder:"MODE" default:"async" help:"What a write waits for where the request does not say (Holdfast-Ack): async, the owner alone; replica, one copy too; all, every copy. Where the ring has fewer other nodes it waits for those that there are, maybe none: Holdfast-Acked in the answer says how many."`
	PartitionMode partitionMode `group:"Sessions" placeholder:"MODE" default:"available" help:"What an owner does that can reach no other node: available, serve on and say Holdfast-Degraded, to be merged when the network heals; majority, refuse unless it reaches a majority of the nodes that count (docs/OWNERSHIP.md)."`
	TTL           duration      `name:"ttl" group:"Sessions" placeholder:"DURATION" default:"30m" help:"Idle time after which a session expires where its writer gives none."`
	MaxSession    size          `group:"Sessions" placeholder:"SIZE" default:"1MiB" help:"Most bytes of one session, up to 16MiB; larger writes get 413."`
	Memory        memoryLimit   `group:"Sessions" placeholder:"SIZE" default:"${memory}" help:"Most bytes of sessions, those of which this node has the copy among them, or none. What would make them more is refused (507, OOM); ends always pass. Tombstones and copies on their way may take 15 percent more, and Go's collector is told to keep the whole process below one and a half times as much, or 128 MiB more where that is higher, unless GOMEMLIMIT is set. Default: 60 percent of what the container allows, or else of what the machine has."`

	DataDir   string    `group:"Disk" placeholder:"DIR" help:"Directory, of this node alone, in which it keeps its sessions and copies on the disk too, so that a stop of the whole cluster ends none. Give it to all nodes. Default: memory alone."`
	Fsync     fsyncMode `group:"Disk" placeholder:"MODE" default:"everysec" help:"When what is written there is made sure to be on the disk: everysec, once a second, so that a loss of power of all nodes loses up to that; always, before a write is acknowledged; no, when the operating system likes. When processes alone end, everysec and no lose the last 50 ms at most, and always nothing."`
	StartWait duration  `group:"Disk" placeholder:"DURATION" default:"30s" help:"How long a node that has sessions on its disk waits, from its start on, for the nodes that it knew when it last ran, before it founds a cluster without them: what they have may be newer. It answers 503 (LOADING over Redis) meanwhile. A cluster that runs is joined at once."`

	SnapshotEvery duration `group:"Disk" placeholder:"DURATION" help:"How often a copy of what is in -data-dir is made there, as snapshots/TIME, in UTC; the last two are kept. Copied into an empty -data-dir it is what a node of that name starts with. It takes no room at first, and nothing waits for it. Default: never."`
	SnapshotExec  string   `group:"Disk" placeholder:"COMMAND" help:"Program that is run on each snapshot to bring it elsewhere, and its arguments, split at spaces: no shell reads them, and quotes mean nothing. The snapshot's path is one more argument, the last, and in the environment as HOLDFAST_SNAPSHOT. The program has until the next snapshot is due, and is stopped with the node. Example: restic -r sftp:backup:/holdfast backup. Default: none."`

	RESPUnix                 string   `name:"resp-unix" group:"Redis protocol" placeholder:"PATH" help:"Unix socket on which the Redis protocol is spoken too, for programs on this host."`
	RESPPasswordFile         string   `name:"resp-password-file" group:"Redis protocol" placeholder:"FILE" help:"File with the password that clients of -resp must give (AUTH). Default: none is asked for."`
	RESPRedirect             bool     `name:"resp-redirect" group:"Redis protocol" help:"Answer MOVED for keys that other nodes own, as Redis Cluster does, where this node would forward the command."`
	RESPAllowFlush           bool     `name:"resp-allow-flush" group:"Redis protocol" help:"Run FLUSHDB and FLUSHALL, which end every session of the cluster. Without it they are refused, for many a script sends them to clear a cache."`
	RESPRefuseRevive         duration `name:"resp-refuse-revive" group:"Redis protocol" placeholder:"DURATION" help:"Refuse to bring a string or hash back that was deleted less than so long ago, up to 1h, unless by NX: so that a request that saves late undoes no logout. Default: refuse none, as Redis."`
	RESPMaxClients           int      `name:"resp-max-clients" group:"Redis protocol" placeholder:"NUMBER" default:"10000" help:"Most connections to -resp at a time."`
	RESPMaxClientsPerAddress int      `name:"resp-max-clients-per-address" group:"Redis protocol" placeholder:"NUMBER" help:"Most connections to -resp from one IPv4 address, or one IPv6 network of 64 bits. Default: a quarter of -resp-max-clients, at least 64."`
	RESPIdleTimeout          duration `name:"resp-idle-timeout" group:"Redis protocol" placeholder:"DURATION" help:"Close connections to -resp that send nothing for so long. Default: close none."`

	Upstream             redisURL `name:"upstream" group:"Moving in" placeholder:"URL" help:"The Redis that had the sessions before, as redis://[user:password@]host[:port][/db], or rediss:// for TLS: what is asked for here and has never been here is taken over from it, and what ends here is deleted there. Give it to all nodes."`
	UpstreamPasswordFile string   `name:"upstream-password-file" group:"Moving in" placeholder:"FILE" help:"File with the password of that Redis, so that it need not stand in the URL, which others on this host can see."`
	UpstreamTLSCA        string   `name:"upstream-tls-ca" group:"Moving in" placeholder:"FILE" help:"Certificates (PEM) that its certificate is held against with rediss://. Default: those of the system."`

	App       string `group:"Application" placeholder:"URL" help:"Application beside this node, as http://127.0.0.1:3000, https://… or unix:/path: it gets every request outside /v1/, with Holdfast-Key, the user, and Holdfast-Api, where this node answers."`
	AppHealth string `group:"Application" placeholder:"PATH" help:"Path that the application answers with 2xx or 3xx while it is well. Asked every second; while it is not well, its users go to the node's successor. Default: it is well while it takes connections."`
	Demo      bool   `group:"Application" help:"Answer requests outside /v1/ with a visit counter."`

	memberFlags
}

func (*nodeCommand) Detail() string {
	return `All nodes have the same -join, their own -gossip addresses among it. A node owns nothing
before it has joined a running cluster; where none runs, more than half of those listed found one:

  holdfast node -name a -join 127.0.0.1:8084,127.0.0.1:8094
  holdfast node -name b -join 127.0.0.1:8084,127.0.0.1:8094 \
      -http 127.0.0.1:8090 -admin 127.0.0.1:8091 -resp 127.0.0.1:8092 \
      -peer 127.0.0.1:8093 -gossip 127.0.0.1:8094

One node without -join founds a cluster by itself, each time that it starts. Between hosts, gossip is encrypted with a key that all members have; the peer link is not
encrypted, so it belongs on a network of its own, and -insecure says that it is:

  head -c 32 /dev/urandom | base64 > gossip.key; chmod 600 gossip.key
  holdfast node -name a -http 10.0.0.1:8080 -peer 10.0.0.1:8083 \
      -gossip 10.0.0.1:8084 -join 10.0.0.1:8084,10.0.0.2:8084,10.0.0.3:8084 \
      -gossip-key-file gossip.key -insecure

SIGTERM or SIGINT drains: the node leaves the ring, forwards requests, and exits with 0 when
others hold all that it held. A second signal ends it at once. SIGHUP has the key files read
again, tells in the log what has changed in them and what is wrong with them, and ends nothing.
Every flag can also be set in the environment, under the name beside it; the command line comes
first. Files with keys, secrets and passwords must be readable by their owner, or a group, alone.`
}

func (c *nodeCommand) Run(ctx context.Context, s *streams) error {
	cfg, err := c.config(node.RoleNode, &c.placeFlags, s.err)
	if err != nil {
		return err
	}
	cfg.Peer, cfg.RESP = string(c.Peer), string(c.RESP)
	cfg.Expect, cfg.Weight = c.Expect, float64(c.Weight)
	cfg.Ack = session.Ack(c.Ack)
	cfg.PartitionMode = node.PartitionMode(c.PartitionMode)
	cfg.DataDir, cfg.Fsync, cfg.StartWait = c.DataDir, string(c.Fsync), time.Duration(c.StartWait)
	cfg.SnapshotEvery, cfg.SnapshotExec = time.Duration(c.SnapshotEvery), c.SnapshotExec
	if cfg.StartWait == 0 {
		cfg.StartWait = -1
	}
	cfg.TTL = time.Duration(c.TTL)
	cfg.MaxSession, cfg.MemoryLimit = int(c.MaxSession), c.Memory.bytes()
	cfg.App, cfg.AppHealth, cfg.Demo = c.App, c.AppHealth, c.Demo
	if err := c.redis(&cfg); err != nil {
		return err
	}
	if err := c.takeOver(&cfg); err != nil {
		return err
	}
	files := c.keyFiles()
	if c.RESPPasswordFile != "" {
		files = append(files, keyFile{"resp-password-file", c.RESPPasswordFile})
	}
	if c.UpstreamPasswordFile != "" {
		files = append(files, keyFile{"upstream-password-file", c.UpstreamPasswordFile})
	}
	limitMemory(cfg.MemoryLimit)
	return serve(ctx, cfg, files)
}

// takeOver sets up what sessions are taken over from.
func (c *nodeCommand) takeOver(cfg *node.Config) (err error) {
	if cfg.Upstream = string(c.Upstream); cfg.Upstream == "" {
		return nil
	}
	logging.Disable() // the library's: the node tells what goes wrong
	if c.UpstreamPasswordFile != "" {
		if cfg.UpstreamPassword, err = readPassword("upstream-password-file", c.UpstreamPasswordFile); err != nil {
			return badFile(node.RoleNode, err)
		}
	}
	if c.UpstreamTLSCA != "" {
		cfg.UpstreamTLS = new(tls.Config)
		if cfg.UpstreamTLS.RootCAs, err = readCertificates("upstream-tls-ca", c.UpstreamTLSCA); err != nil {
			return badFile(node.RoleNode, err)
		}
	}
	return nil
}

// redis sets up the Redis endpoint.
func (c *nodeCommand) redis(cfg *node.Config) error {
	cfg.RESPUnix = c.RESPUnix
	cfg.RESPRedirect, cfg.RESPAllowFlush, cfg.RESPMaxClients = c.RESPRedirect, c.RESPAllowFlush, c.RESPMaxClients
	cfg.RESPMaxClientsPerAddress = c.RESPMaxClientsPerAddress
	cfg.RESPRefuseRevive, cfg.RESPIdleTimeout = time.Duration(c.RESPRefuseRevive), time.Duration(c.RESPIdleTimeout)
	if c.RESPPasswordFile == "" {
		return nil
	}
	password, err := readPassword("resp-password-file", c.RESPPasswordFile)
	if err != nil {
		return badFile(node.RoleNode, err)
	}
	cfg.RESPPassword = password
	return nil
}
