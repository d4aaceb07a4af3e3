package main

import (
	"strings"

	"github.com/seed-95a32959/holdfast/node"
)

// flagOfField names the flag that sets a field of [node.Config], where there is
// one.
var flagOfField = map[string]string{
	"Name":                     "name",
	"Cluster":                  "cluster",
	"Zone":                     "zone",
	"Weight":                   "weight",
	"HTTP":                     "http",
	"Admin":                    "admin",
	"Peer":                     "peer",
	"Gossip":                   "gossip",
	"RESP":                     "resp",
	"Advertise":                "advertise",
	"Join":                     "join",
	"Expect":                   "expect",
	"Copies":                   "copies",
	"VirtualNodes":             "virtual-nodes",
	"Load":                     "load",
	"Ack":                      "ack",
	"PartitionMode":            "partition-mode",
	"TTL":                      "ttl",
	"DataDir":                  "data-dir",
	"Fsync":                    "fsync",
	"StartWait":                "start-wait",
	"SnapshotEvery":            "snapshot-every",
	"SnapshotExec":             "snapshot-exec",
	"MaxSession":               "max-session",
	"MemoryLimit":              "memory",
	"Upstream":                 "upstream",
	"UpstreamPassword":         "upstream-password-file",
	"UpstreamTLS":              "upstream-tls-ca",
	"HTTPUnix":                 "http-unix",
	"HTTPMaxClients":           "http-max-clients",
	"HTTPMaxPerAddress":        "http-max-per-address",
	"RESPUnix":                 "resp-unix",
	"RESPPassword":             "resp-password-file",
	"RESPRedirect":             "resp-redirect",
	"RESPAllowFlush":           "resp-allow-flush",
	"RESPRefuseRevive":         "resp-refuse-revive",
	"RESPMaxClients":           "resp-max-clients",
	"RESPMaxClientsPerAddress": "resp-max-clients-per-address",
	"RESPIdleTimeout":          "resp-idle-timeout",
	"App":                      "app",
	"AppHealth":                "app-health",
	"Demo":                     "demo",
	"UserHeader":               "user-header",
	"Cookie":                   "cookie",
	"Trust":                    "trust",
	"TrustHeaders":             "trust-headers",
	"NoAPI":                    "no-api",
	"CookieSecure":             "cookie-secure",
	"Secret":                   "secret-file",
	"OldSecrets":               "secret-file",
	"GossipKeys":               "gossip-key-file",
	"Insecure":                 "insecure",
	"HTTPHosts":                "http-host",
	"AdminHosts":               "admin-host",
	"DrainTimeout":             "drain-timeout",
}

// inFlags is the text of err with the flags in place of the fields that package
// node speaks of.
func inFlags(err error) string {
	text := err.Error()
	for _, field := range fieldErrors(err) {
		text = strings.ReplaceAll(text, field.Error(), field.Text(func(name string) string {
			if flag, ok := flagOfField[name]; ok {
				return "-" + flag
			}
			return name
		}))
	}
	return text
}

// fieldErrors lists those that err wraps, several of which may stand side by
// side.
func fieldErrors(err error) (list []*node.FieldError) {
	if field, ok := err.(*node.FieldError); ok {
		return []*node.FieldError{field}
	}
	switch err := err.(type) {
	case interface{ Unwrap() error }:
		return fieldErrors(err.Unwrap())
	case interface{ Unwrap() []error }:
		for _, each := range err.Unwrap() {
			list = append(list, fieldErrors(each)...)
		}
	}
	return list
}
