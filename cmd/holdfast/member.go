package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/seed-95a32959/holdfast/node"
)

// placeFlags say who a node or a router is and where it is reached.
type placeFlags struct {
	Name    string `group:"Identity" placeholder:"NAME" help:"Name on the ring: unique, and the same after a restart, for it decides which sessions a node owns; a router owns none. Default: this host's name."`
	Cluster string `group:"Identity" placeholder:"NAME" default:"holdfast" help:"Name of the cluster; members of another one are not spoken to."`
	Zone    string `group:"Identity" placeholder:"NAME" help:"Where the member runs, such as a rack or a building that fails as a whole. Once every node states one and two of them differ, each session has a copy in another zone than its owner's, which takes a third copy of some. A router's is shown, and counts for nothing."`

	HTTP      hostPort  `name:"http" group:"Addresses" placeholder:"HOST:PORT" default:"127.0.0.1:8080" help:"Public address: the session API, and everything else for the application."`
	HTTPUnix  string    `name:"http-unix" group:"Addresses" placeholder:"PATH" help:"Unix socket on which the public address answers too, for programs on this host."`
	HTTPMax   int       `name:"http-max-clients" group:"Addresses" placeholder:"NUMBER" default:"10000" help:"Most connections to -http at a time."`
	HTTPEach  int       `name:"http-max-per-address" group:"Addresses" placeholder:"NUMBER" help:"Most of them from one address, or one IPv6 network of 64 bits; a proxy, and at a node a router, has one address for all that come through it. Default: half of -http-max-clients."`
	Admin     hostPort  `group:"Addresses" placeholder:"HOST:PORT" default:"127.0.0.1:8081" help:"Operator's address: dashboard, ring, metrics, health, drain, profiles. Keep it on loopback."`
	Gossip    hostPort  `group:"Addresses" placeholder:"HOST:PORT" default:"127.0.0.1:8084" help:"Address of membership, UDP and TCP. Off loopback it needs -gossip-key-file."`
	Advertise string    `group:"Addresses" placeholder:"HOST" help:"Host that others are told to use where an address above is a wildcard such as 0.0.0.0. Default: the host of -peer (of a node) or of -gossip, where it is an IP address other than a wildcard or loopback; else the first private IPv4 address of this host."`
	Join      hostPorts `group:"Addresses" placeholder:"HOST:PORT,…" help:"Gossip addresses of members to join; one that runs is enough. Names are resolved anew at each attempt, and attempts go on. May be given more than once."`
}

// memberFlags are the other flags that a node and a router share. A command
// embeds the two around its own, which is the order of its help.
type memberFlags struct {
	Copies       copyCount  `group:"Ring (the cluster changes them once all its nodes ask for it)" placeholder:"N" help:"Nodes that hold each session, its owner among them, 1 to 16. Default: what the cluster has; 2 where it is founded."`
	VirtualNodes pointCount `group:"Ring (the cluster changes them once all its nodes ask for it)" placeholder:"N" help:"Points of a node of weight 1 on the hash circle, 1 to 1000. More make shares more even. Default: what the cluster has; 400 where it is founded."`
	Load         loadBound  `group:"Ring (the cluster changes them once all its nodes ask for it)" placeholder:"FACTOR" help:"Most that one node may own, as a multiple of its share by weight, over 1. The closer to 1, the more even; but when a node comes or goes, some sessions of others move too. Default: what the cluster has; 1.10 where it is founded."`

	UserHeader   string   `group:"Finding the user of a request" placeholder:"NAME" default:"X-User-ID" help:"Header that names the user, believed from the addresses of -trust only."`
	Trust        prefixes `group:"Finding the user of a request" placeholder:"CIDR,…" default:"127.0.0.0/8,::1/128" help:"Networks of the proxies whose -user-header, X-Forwarded-For, -Proto, -Host, -Port, -Prefix, -Server, -Ssl, -Scheme and X-Real-IP are believed, or none. Such a proxy must take them out of what visitors send. Members need not be named: they prove what they pass on."`
	TrustHeaders []string `group:"Finding the user of a request" placeholder:"NAME" help:"Further headers that proxies of -trust may set, of those that say who a visitor is, such as X-Forwarded-Email or True-Client-IP. Without this the application gets them from nobody."`
	Cookie       string   `group:"Finding the user of a request" placeholder:"NAME" default:"holdfast" help:"Name of the signed cookie that pins a user without a header."`
	SecretFile   []string `group:"Finding the user of a request" placeholder:"FILE" help:"File with at least 16 bytes that sign the cookie and what members pass on to each other, the same for all routers and nodes. Of several, as new,old, the first signs and all verify, so that a secret can be changed without losing a user. Default: random, so that cookies end with the process; members then prove what they pass on by the gossip key or, without one, by what gossip alone tells."`
	CookieSecure bool     `group:"Finding the user of a request" help:"The site is reached over TLS: mark the cookie Secure and bind it to its host (__Host-)."`

	GossipKeyFile string `group:"Security" placeholder:"FILE" help:"File with the keys that encrypt gossip: 16, 24 or 32 bytes each, hexadecimal or base64, one a line. The first encrypts, all decrypt, so keys can be changed one member at a time. Default: none, or that of the holdfast dev of yours that runs a member to -join."`
	Insecure      bool   `group:"Security" help:"Allow gossip, peer, Redis and admin addresses that are not loopback although nothing protects them. Only where the network itself keeps strangers out: every client that reaches those ports can read and end sessions."`

	HTTPHost  hostNames `name:"http-host" group:"Security" placeholder:"NAME,…" help:"Further names by which clients reach the session API on -http, such as that of a site or a service. Others than localhost, IP addresses, -name and the hosts of -http and -advertise are refused, so that no web page gets there by a name of its own. The application gets requests for any name."`
	AdminHost hostNames `name:"admin-host" group:"Security" placeholder:"NAME,…" help:"Further names by which clients reach -admin, such as that of a proxy before it, refused otherwise in the same way."`

	DrainTimeout duration  `group:"Running" placeholder:"DURATION" default:"60s" help:"How long to hand sessions over after SIGTERM or SIGINT, at most."`
	LogLevel     logLevel  `group:"Running" placeholder:"LEVEL" default:"info" help:"Least level logged to standard error: debug, info, warn or error."`
	LogFormat    logFormat `group:"Running" placeholder:"FORMAT" default:"text" help:"text or json."`
}

// config reads the files that flags name and returns the configuration that a
// node and a router share.
func (f *memberFlags) config(role node.Role, place *placeFlags, stderr io.Writer) (node.Config, error) {
	log := newLogger(stderr, f.LogLevel, f.LogFormat)
	cfg := node.Config{
		Name: place.Name, Cluster: place.Cluster, Zone: place.Zone, Role: role,
		HTTP: string(place.HTTP), HTTPUnix: place.HTTPUnix, HTTPMaxClients: place.HTTPMax, HTTPMaxPerAddress: place.HTTPEach, Admin: string(place.Admin), Gossip: string(place.Gossip),
		Advertise: place.Advertise, Join: place.Join,
		Copies: int(f.Copies), VirtualNodes: int(f.VirtualNodes), Load: float64(f.Load),
		UserHeader: f.UserHeader, Trust: []netip.Prefix(f.Trust), TrustHeaders: f.TrustHeaders, Cookie: f.Cookie, CookieSecure: f.CookieSecure,
		HTTPHosts: f.HTTPHost, AdminHosts: f.AdminHost, Insecure: f.Insecure, DrainTimeout: time.Duration(f.DrainTimeout), Log: log,
		Now: hostClock(),
	}
	var err error
	if cfg.GossipKeys, err = f.gossipKeys(role, place, log); err != nil {
		return node.Config{}, err
	}
	for _, file := range f.SecretFile {
		secret, err := readSecret(file)
		if err != nil {
			return node.Config{}, badFile(role, err)
		}
		if cfg.Secret == nil {
			cfg.Secret = secret
		} else {
			cfg.OldSecrets = append(cfg.OldSecrets, secret)
		}
	}
	return cfg, nil
}

// keyFiles lists the files that config has read.
func (f *memberFlags) keyFiles() (files []keyFile) {
	if f.GossipKeyFile != "" {
		files = append(files, keyFile{"gossip-key-file", f.GossipKeyFile})
	}
	for _, path := range f.SecretFile {
		files = append(files, keyFile{"secret-file", path})
	}
	return files
}

func badFile(role node.Role, err error) error {
	return &usageError{command: "holdfast " + string(role), text: err.Error()}
}

func newLogger(w io.Writer, level logLevel, format logFormat) *slog.Logger {
	options := &slog.HandlerOptions{Level: level.level()}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// serve runs one member until a signal or the end of ctx, then drains it; or
// until its operator has drained it. A second signal ends the process at once,
// without any handing over, because the first one gives signals back their
// default effect. SIGHUP never ends it.
func serve(ctx context.Context, cfg node.Config, files []keyFile) error {
	defer watchHangups(cfg.Log, files)()
	life, err := lifeOfParent(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	if cfg.Control, err = controlOfParent(); err != nil {
		return err
	}
	signalled, defaultSignals := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer defaultSignals()

	context.AfterFunc(signalled, defaultSignals)

	// A signal does not end a start, which takes seconds at most: the node may
	// have its place on the ring before Start returns, and gives it up in order.
	n, err := node.Start(life, cfg)
	if err != nil {
		return err
	}
	if cfg.Role == node.RoleNode {
		logMemory(cfg.MemoryLimit, cfg.Log)
	}
	select {
	case <-n.Done():
		if err := n.Err(); !errors.Is(err, node.ErrStopped) {
			return err
		}
		return nil // drained by POST /admin/drain
	case <-life.Done():
		return context.Cause(life)
	case <-signalled.Done():
	}
	return drainAndStop(life, n, cfg)
}

// drainAndStop hands everything over, tells how it goes, and stops the member.
func drainAndStop(life context.Context, n *node.Node, cfg node.Config) error {
	draining, cancel := context.WithTimeout(life, cfg.DrainTimeout)
	defer cancel()
	p := progress{log: cfg.Log, every: time.Second}
	err := n.Drain(draining, p.report)
	if life.Err() != nil {
		return context.Cause(life)
	}
	if err == nil {
		cfg.Log.Info("drained", "unsynced", p.last.Unsynced)
	} else {
		cancel() // Shutdown drains too: what could not be done is not to be tried again
	}
	stopErr := n.Shutdown(draining)
	switch {
	case err == nil:
		return stopErr
	case errors.Is(err, node.ErrNobodyThere) && n.Saved():
		cfg.Log.Info("no other node is there to take the sessions: they are on the disk, for the next start", "records", p.last.Unsynced)
		return nil
	default:
		return err
	}
}

// progress logs how a drain goes, not more often than each interval.
type progress struct {
	log    *slog.Logger
	every  time.Duration
	logged time.Time
	last   node.DrainStatus
}

func (p *progress) report(s node.DrainStatus) {
	p.last = s
	if now := time.Now(); p.logged.IsZero() || now.Sub(p.logged) >= p.every {
		p.logged = now
		p.log.Info("draining", "partitions", s.Partitions, "unsynced", s.Unsynced)
	}
}
