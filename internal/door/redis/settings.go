package redis

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-95a32959/holdfast/internal/glob"
)

// settings are what CONFIG GET shows: what session libraries and clients look
// for, as it is here. None but one can be set.
type settings struct {
	mu     sync.RWMutex // guards values
	values map[string]string
}

// keyspaceEvents is the one setting that can be set, for Spring insists on it.
// The events that it speaks of are sent to whoever subscribes in any case.
const keyspaceEvents = "notify-keyspace-events"

func (s *settings) init(cfg *Config) {
	s.values = map[string]string{
		keyspaceEvents:                  "",
		"appendonly":                    "no",
		"cluster-enabled":               "yes",
		"cluster-node-timeout":          "1000",
		"databases":                     "1",
		"maxclients":                    itoa(int64(cfg.MaxClients)),
		"maxmemory":                     itoa(cfg.Cluster.Info().MemoryLimit),
		"maxmemory-policy":              "noeviction",
		"min-replicas-to-write":         "0",
		"port":                          "0",
		"proto-max-bulk-len":            itoa(int64(cfg.MaxValue)),
		"client-query-buffer-limit":     itoa(int64(cfg.MaxQuery)),
		"replica-read-only":             "yes",
		"slave-read-only":               "yes",
		"save":                          "",
		"tcp-keepalive":                 "15",
		"timeout":                       itoa(int64(cfg.IdleTimeout / time.Second)),
		"client-output-buffer-limit":    "normal " + itoa(int64(cfg.OutputLimit)) + " 0 0 slave 0 0 0 pubsub " + itoa(int64(cfg.OutputLimit)) + " 0 0",
		"hash-max-listpack-entries":     "512",
		"lazyfree-lazy-user-del":        "no",
		"latency-tracking":              "no",
		"slowlog-max-len":               "0",
		"cluster-require-full-coverage": "yes",
	}
}

var configVerbs = []verb{
	{name: "config|get", arity: -3, flags: loading | stale, run: (*conn).configGet},
	{name: "config|set", arity: -4, flags: loading | stale, run: (*conn).configSet},
	{name: "config|resetstat", arity: 2, flags: loading | stale, run: ok},
	{name: "config|rewrite", arity: 2, flags: loading | stale, run: func(c *conn, _ [][]byte) {
		c.fail("ERR The server is running without a config file")
	}},
}

// maxSettings bounds the patterns of one CONFIG GET. There are fewer settings.
const maxSettings = 128

func (c *conn) configGet(args [][]byte) {
	if len(args)-2 > maxSettings {
		c.fail(refusal(fmt.Sprintf("ERR CONFIG GET takes %d patterns at most", maxSettings)))
		return
	}
	asked := make([]*glob.Pattern, len(args)-2)
	for i, arg := range args[2:] {
		var err error
		if asked[i], err = glob.Compile(strings.ToLower(string(arg))); err != nil {
			c.fault(err)
			return
		}
	}
	s := &c.server.settings
	s.mu.RLock()
	defer s.mu.RUnlock()
	var names []string
	for _, name := range slices.Sorted(maps.Keys(s.values)) {
		if slices.ContainsFunc(asked, func(p *glob.Pattern) bool { return p.Match(name) }) {
			names = append(names, name)
		}
	}
	c.out.Map(len(names))
	for _, name := range names {
		c.out.BulkString(name)
		c.out.BulkString(s.values[name])
	}
}

func (c *conn) configSet(args [][]byte) {
	if len(args)%2 != 0 {
		c.fail(wrongArity("config|set"))
		return
	}
	if no := c.server.settings.set(args[2:]); no != none {
		c.fail(no)
		return
	}
	c.out.OK()
}

// set takes all of the pairs or, if one is wrong, none.
func (s *settings) set(pairs [][]byte) refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	events := s.values[keyspaceEvents]
	for ; len(pairs) > 0; pairs = pairs[2:] {
		name := lower(pairs[0])
		if _, known := s.values[name]; !known {
			return refusal("ERR Unknown option or number of arguments for CONFIG SET - '" + clip(pairs[0], 128) + "'")
		}
		failed := "ERR CONFIG SET failed (possibly related to argument '" + name + "') - "
		if name != keyspaceEvents {
			if string(pairs[1]) != s.values[name] {
				return refusal(failed + "can't set immutable config")
			}
			continue
		}
		var valid bool
		if events, valid = eventClasses(string(pairs[1])); !valid {
			return refusal(failed + "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")
		}
	}
	s.values[keyspaceEvents] = events
	return none
}

// eventClasses writes classes of keyspace events in Redis's order, where A
// stands for all that it includes.
func eventClasses(s string) (ordered string, valid bool) {
	const all, others = "g$lshzxetd", "nKEm" // in this order
	if strings.Trim(s, all+others+"A") != "" {
		return "", false
	}
	has := func(class rune) bool {
		return strings.ContainsRune(s, class) || strings.ContainsRune(s, 'A') && strings.ContainsRune(all, class)
	}
	for _, class := range all {
		if has(class) {
			ordered += string(class)
		}
	}
	if ordered == all {
		ordered = "A"
	}
	for _, class := range others {
		if has(class) {
			ordered += string(class)
		}
	}
	return ordered, true
}
