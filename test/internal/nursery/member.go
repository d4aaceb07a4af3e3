package nursery

import (
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Ports of a member, counted from its first.
const (
	HTTPPort = iota
	AdminPort
	RESPPort
	PeerPort
	GossipPort
	PortsPerMember = 10
)

// Member is the router of a cluster or one of its nodes.
type Member struct {
	Name string
	Node bool
	Host string
	Port int // its first
}

// NewMember returns member i of a cluster: the router is the first.
func NewMember(i int, host string, port int) Member {
	if i == 0 {
		return Member{Name: "router", Host: host, Port: port}
	}
	return Member{Name: "node-" + strconv.Itoa(i), Node: true, Host: host, Port: port}
}

// Address is host:port of one of its ports.
func (m Member) Address(port int) string {
	return net.JoinHostPort(m.Host, strconv.Itoa(m.Port+port))
}

// Command is the command line that starts the member in a cluster with these
// nodes, to which the test adds what is particular to it.
func (m Member) Command(bin, cluster, secretFile string, nodes []Member) []string {
	role := "router"
	if m.Node {
		role = "node"
	}
	var join []string
	for _, o := range nodes {
		if o != m {
			join = append(join, o.Address(GossipPort))
		}
	}
	words := []string{bin, role, "-name", m.Name, "-cluster", cluster,
		"-http", m.Address(HTTPPort), "-admin", m.Address(AdminPort), "-gossip", m.Address(GossipPort),
		"-join", strings.Join(join, ","), "-secret-file", secretFile}
	if m.Node {
		words = append(words, "-resp", m.Address(RESPPort), "-peer", m.Address(PeerPort))
	}
	return words
}

// Environment is that of this process without the settings of holdfast.
func Environment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "HOLDFAST_") })
}
