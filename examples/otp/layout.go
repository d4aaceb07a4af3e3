package main

import (
	"net"
	"strconv"
)

// servers is how many there are. Two would do for the story; with three one
// can be killed and the others still hold every session twice.
const servers = 3

// Ports, counted from a server's or the front's first.
const (
	httpPort   = iota // node: its public endpoint; front: the web site
	adminPort         // the operator's endpoint
	routerPort        // front only: the router's public endpoint
	peerPort
	gossipPort
	appPort   // the application, for the node beside it
	plainPort // the application as it is without Holdfast
	portsEach = 10
	portsUsed = portsEach*servers + plainPort
)

// layout is the first port of all; everything else follows from it.
type layout int

// address of a port of server number, or of the front for 0.
func (l layout) address(number, port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(int(l)+portsEach*number+port))
}

func (l layout) url(number, port int) string { return "http://" + l.address(number, port) }

// all returns that port of every server.
func (l layout) all(port int) []string {
	var list []string
	for number := 1; number <= servers; number++ {
		list = append(list, l.address(number, port))
	}
	return list
}

func serverName(number int) string { return "node-" + strconv.Itoa(number) }
