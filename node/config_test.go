package node

import (
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/session"
)

func checked(t *testing.T, c Config) error {
	t.Helper()
	c, err := c.withDefaults()
	require.NoError(t, err)
	return c.validate()
}

func TestDefaultsAreAsDocumented(t *testing.T) {
	t.Parallel()
	c, err := Config{Name: "a"}.withDefaults()
	require.NoError(t, err)
	require.NoError(t, c.validate())
	require.Equal(t, "holdfast", c.Cluster)
	require.Equal(t, RoleNode, c.Role)
	require.Equal(t, []string{"127.0.0.1:8080", "127.0.0.1:8081", "127.0.0.1:8083", "127.0.0.1:8084"}, []string{c.HTTP, c.Admin, c.Peer, c.Gossip})
	require.Equal(t, "vnodes=400 load=1.1 copies=2", c.ringParams().String()[len("partitions=1024 "):])
	require.Equal(t, session.AckAsync, c.Ack)
	require.Equal(t, PartitionAvailable, c.PartitionMode)
	require.Equal(t, 30*time.Minute, c.TTL)
	require.Equal(t, 1<<20, c.MaxSession)
	require.Equal(t, time.Minute, c.DrainTimeout)
	require.Equal(t, "X-User-ID", c.UserHeader)
	require.Equal(t, "holdfast", c.Cookie)
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}, c.Trust)

	router, err := Config{Name: "r", Role: RoleRouter}.withDefaults()
	require.NoError(t, err)
	require.Empty(t, router.Peer)
	require.NoError(t, router.validate())

	host, err := Config{}.withDefaults()
	require.NoError(t, err)
	require.NotEmpty(t, host.Name)
}

// Each error names the field, the value, and what would be accepted.
func TestValidateNamesFieldValueAndWhatIsAccepted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		set  func(*Config)
		want []string
	}{
		{func(c *Config) { c.Name = "-a" }, []string{"Config.Name", `"-a"`, "1 to 64 letters"}},
		{func(c *Config) { c.Name = "a~b" }, []string{"Config.Name", `"a~b"`}},
		{func(c *Config) { c.Name = strings.Repeat("a", 65) }, []string{"Config.Name"}},
		{func(c *Config) { c.Cluster = "a b" }, []string{"Config.Cluster", `"a b"`, "1 to 64 letters"}},
		{func(c *Config) { c.Role = "boss" }, []string{"Config.Role", `"boss"`, "node or router"}},
		{func(c *Config) { c.PartitionMode = "both" }, []string{"Config.PartitionMode", `"both"`, "available or majority"}},
		{func(c *Config) { c.Copies = 17 }, []string{"Config.Copies", `"17"`, "1 to 16"}},
		{func(c *Config) { c.Copies = -1 }, []string{"Config.Copies", `"-1"`, "1 to 16"}},
		{func(c *Config) { c.Weight = 0.09 }, []string{"Config.Weight", `"0.09"`, "0.1 to 10 in steps of 0.01"}},
		{func(c *Config) { c.Weight = 10.01 }, []string{"Config.Weight", "0.1 to 10"}},
		{func(c *Config) { c.Weight = 1.005 }, []string{"Config.Weight", "in steps of 0.01"}},
		{func(c *Config) { c.Weight = -1 }, []string{"Config.Weight"}},
		{func(c *Config) { c.Weight = math.NaN() }, []string{"Config.Weight"}},
		{func(c *Config) { c.Weight = math.Inf(1) }, []string{"Config.Weight"}},
		{func(c *Config) { c.VirtualNodes = 1001 }, []string{"Config.VirtualNodes", `"1001"`, "1 to 1000"}},
		{func(c *Config) { c.Load = 1 }, []string{"Config.Load", `"1"`, "over 1"}},
		{func(c *Config) { c.Load = math.NaN() }, []string{"Config.Load", `"NaN"`, "over 1"}},
		{func(c *Config) { c.Load = math.Inf(1) }, []string{"Config.Load", "over 1"}},
		{func(c *Config) { c.TTL = time.Millisecond }, []string{"Config.TTL", `"1ms"`, "at least 1s"}},
		{func(c *Config) { c.MaxSession = 17 << 20 }, []string{"Config.MaxSession", "1 byte to 16 MiB"}},
		{func(c *Config) { c.MaxSession = -1 }, []string{"Config.MaxSession", `"-1"`}},
		{func(c *Config) { c.MemoryLimit = -1 }, []string{"Config.MemoryLimit", `"-1"`, "not be negative"}},
		{func(c *Config) { c.Zone = strings.Repeat("z", 33) }, []string{"Config.Zone", "32 bytes at most"}},
		{func(c *Config) { c.DrainTimeout = -time.Second }, []string{"Config.DrainTimeout", `"-1s"`, "not be negative"}},
		{func(c *Config) { c.Cookie = "a b" }, []string{"Config.Cookie", `"a b"`, "cookie name"}},
		{func(c *Config) { c.UserHeader = "X:User" }, []string{"Config.UserHeader", `"X:User"`, "header name"}},
		{func(c *Config) { c.TrustHeaders = []string{"True-Client-IP", "X User"} }, []string{"Config.TrustHeaders", `"X User"`, "header name"}},
		{func(c *Config) { c.TrustHeaders = []string{"holdfast-Key"} }, []string{"Config.TrustHeaders", `"holdfast-Key"`, "none of Holdfast's own"}},
		{func(c *Config) { c.Advertise = "http://a" }, []string{"Config.Advertise", `"http://a"`, "without a port"}},
		{func(c *Config) { c.GossipKeys = [][]byte{make([]byte, 16), make([]byte, 17)} }, []string{"Config.GossipKeys", "17 bytes", "16, 24 or 32"}},
		{func(c *Config) { c.App = "127.0.0.1:3000" }, []string{"Config.App", `"127.0.0.1:3000"`, "http://127.0.0.1:3000"}},
		{func(c *Config) { c.App = "ftp://a/" }, []string{"Config.App", `"ftp://a/"`}},
		{func(c *Config) { c.App, c.Demo = "http://a", true }, []string{"Config.Demo", "Config.App"}},
		{func(c *Config) { c.HTTP = "8080" }, []string{"Config.HTTP", `"8080"`, "host:port"}},
		{func(c *Config) { c.Admin = "127.0.0.1:65536" }, []string{"Config.Admin", `"127.0.0.1:65536"`, "0 to 65535"}},
		{func(c *Config) { c.Peer = "127.0.0.1:x y" }, []string{"Config.Peer", "0 to 65535"}},
		{func(c *Config) { c.Gossip, c.Insecure = "localhost", true }, []string{"Config.Gossip", `"localhost"`, "host:port"}},
		{func(c *Config) { c.RESP, c.Insecure = "x", true }, []string{"Config.RESP", `"x"`, "host:port"}},
		{func(c *Config) { c.Join = []string{"127.0.0.1:1", "seed"} }, []string{"Config.Join", `"seed"`, "host:port"}},
		{func(c *Config) { c.HTTP = strings.Repeat("h", 254) + ":1" }, []string{"Config.HTTP", "253 bytes at most"}},
	} {
		cfg := Config{Name: "a"}
		c.set(&cfg)
		err := checked(t, cfg)
		require.Error(t, err, "%v", c.want)
		for _, part := range c.want {
			require.ErrorContains(t, err, part)
		}
		require.NotContains(t, err.Error(), "\n", "one thing was wrong")
	}
}

func TestValidateTellsEverythingAtOnce(t *testing.T) {
	t.Parallel()
	err := checked(t, Config{Name: "-", Copies: 99, HTTP: "x", Load: 0.5})
	for _, field := range []string{"Config.Name", "Config.Copies", "Config.HTTP", "Config.Load"} {
		require.ErrorContains(t, err, field)
	}
}

// An address that strangers reach needs protection or the operator's word; the
// public endpoint is for strangers.
func TestExposedAddressesAreRefused(t *testing.T) {
	t.Parallel()
	open := []string{"0.0.0.0:0", ":0", "[::]:0", "10.0.0.1:0", "example.org:0", "[fe80::1%eth0]:0"}
	closed := []string{"127.0.0.1:0", "127.9.9.9:0", "[::1]:0", "localhost:0", "[::ffff:127.0.0.1]:0"}
	key := [][]byte{make([]byte, 32)}
	for field, set := range map[string]func(*Config, string){
		"Gossip": func(c *Config, a string) { c.Gossip = a },
		"Peer":   func(c *Config, a string) { c.Peer = a },
		"Admin":  func(c *Config, a string) { c.Admin = a },
		"RESP":   func(c *Config, a string) { c.RESP = a },
	} {
		for _, a := range open {
			c := Config{Name: "a"}
			set(&c, a)
			err := checked(t, c)
			require.ErrorContains(t, err, "Config."+field, a)
			require.ErrorContains(t, err, "is not loopback", a)
			require.ErrorContains(t, err, "or Config.Insecure", "what to do")

			c.Insecure = true
			require.NoError(t, checked(t, c), a)
			c.Insecure, c.GossipKeys = false, key
			if field == "Gossip" {
				require.NoError(t, checked(t, c), "a key protects gossip")
			} else {
				require.Error(t, checked(t, c), "a gossip key protects nothing else")
			}
		}
		for _, a := range closed {
			c := Config{Name: "a"}
			set(&c, a)
			require.NoError(t, checked(t, c), "%s %s", field, a)
		}
	}
	for _, a := range open {
		require.NoError(t, checked(t, Config{Name: "a", HTTP: a}), a)
	}
	require.NoError(t, checked(t, Config{Name: "a", RESP: "0.0.0.0:0", RESPPassword: "secret"}))
	require.NoError(t, checked(t, Config{Name: "r", Role: RoleRouter, Peer: "0.0.0.0:1"}), "a router has no peer port")
}

// With the operator's word there is a warning, of what is open and nothing
// else.
func TestWarningOfExposure(t *testing.T) {
	t.Parallel()
	key := [][]byte{make([]byte, 32)}
	for _, c := range []struct {
		config Config
		want   string
	}{
		{Config{Gossip: "10.0.0.1:1", Peer: "10.0.0.1:2", Admin: ":3", RESP: "10.0.0.1:4"}, "gossip 10.0.0.1:1, peer 10.0.0.1:2, resp 10.0.0.1:4, admin :3"},
		{Config{Gossip: "10.0.0.1:1", Peer: "10.0.0.1:2", GossipKeys: key}, "peer 10.0.0.1:2"},
		{Config{RESP: "10.0.0.1:4", RESPPassword: "secret", Admin: "10.0.0.1:3"}, "admin 10.0.0.1:3"},
		{Config{Role: RoleRouter, Gossip: "10.0.0.1:1", Peer: "10.0.0.1:2"}, "gossip 10.0.0.1:1"},
		{Config{Gossip: "10.0.0.1:1", GossipKeys: key}, ""},
		{Config{}, ""},
	} {
		var log journal
		c.config.Name, c.config.Insecure = "a", true
		logTo(&log)(&c.config)
		cfg, err := c.config.withDefaults()
		require.NoError(t, err)
		cfg.warnOfExposure()
		if c.want == "" {
			require.False(t, log.says("insecure"))
			continue
		}
		require.True(t, log.says(`level=WARN msg="insecure: open to everybody who reaches them: `+c.want+`"`), c.want)
	}
}

func TestStartWarnsOfExposure(t *testing.T) {
	t.Parallel()
	var log journal
	cfg := loopbackConfig("ada")
	cfg.Admin, cfg.Insecure = ":0", true
	logTo(&log)(&cfg)
	begin(t, cfg)
	require.True(t, log.says("insecure: open to everybody who reaches them: admin :0"))
}

func TestStartRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	n, err := Start(t.Context(), Config{Name: "a", Copies: 99})
	require.ErrorContains(t, err, "Config.Copies")
	require.Nil(t, n)
}

// How many nodes found a cluster: more than half of those that this one knows
// to be meant, itself among them.
func TestExpected(t *testing.T) {
	t.Parallel()
	for want, c := range map[int][]Config{
		1: {{}, {Join: []string{"10.0.0.1:8084"}}, {Join: []string{"ada:8084"}}, {Join: []string{"10.0.0.2:8084", "10.0.0.3:8084"}, Expect: 1}},
		2: {
			{Join: []string{"10.0.0.2:8084"}}, {Join: []string{"10.0.0.1:9"}},
			{Join: []string{"10.0.0.2:8084", "10.0.0.3:8084"}}, {Join: []string{"10.0.0.1:8084", "10.0.0.2:8084", "10.0.0.3:8084", "10.0.0.3:8084"}},
		},
		3: {{Join: []string{"a:1", "b:1", "c:1", "d:1"}}, {Join: []string{"a:1", "b:1", "c:1", "d:1", "10.0.0.1:8084"}}, {Expect: 3}},
	} {
		for _, cfg := range c {
			cfg.Name, cfg.Gossip, cfg.Advertise = "ada", "0.0.0.0:8084", "10.0.0.1"
			require.Equal(t, want, cfg.expected(), "%v", cfg.Join)
		}
	}
}
