package main

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/node"
)

// Every field of a configuration has a flag of a node or a router, or none for
// a reason; and every flag named exists.
func TestFieldsHaveFlags(t *testing.T) {
	parser, err := newParser(io.Discard, func(int) {})
	require.NoError(t, err)
	flags := make(map[string]bool)
	for _, command := range parser.Model.Children {
		if command.Name == "node" || command.Name == "router" {
			for _, f := range command.Flags {
				flags[f.Name] = true
			}
		}
	}
	inProgram := []string{"Role", "Handler", "Control", "Files", "FoundAfter", "Log", "Network", "Now"} // the commands set them, or Go programs
	for f := range reflect.TypeFor[node.Config]().Fields() {
		if !f.IsExported() {
			continue
		}
		flag, ok := flagOfField[f.Name]
		require.NotEqual(t, slices.Contains(inProgram, f.Name), ok, f.Name)
		require.True(t, !ok || flags[flag], "%s: -%s", f.Name, flag)
	}
	for field := range flagOfField {
		_, ok := reflect.TypeFor[node.Config]().FieldByName(field)
		require.True(t, ok, field)
	}
}

// What package node says of fields the command says of flags, however wrapped.
func TestErrorsSpeakOfFlags(t *testing.T) {
	_, err := node.Start(t.Context(), node.Config{Name: "Config.Copies", Copies: 99, Gossip: "10.0.0.1:1", GossipKeys: [][]byte{{1}}, Peer: "10.0.0.1:2"})
	require.Equal(t, `-copies "99": must be 1 to 16
-gossip-key-file: a key has 1 bytes, accepted are 16, 24 or 32
-peer "10.0.0.1:2": is not loopback and the peer link is not protected: give a loopback address, or -insecure if the network is trusted`, inFlags(err))

	cause := errors.New("in use")
	one := &node.FieldError{Field: "RESPUnix", Value: "/run/x", Reason: "in use", Err: cause}
	require.Equal(t, "starting: -resp-unix /run/x: in use", inFlags(fmt.Errorf("starting: %w", one)))
	require.Equal(t, "starting: Config.RESPUnix /run/x: in use", fmt.Errorf("starting: %w", one).Error())
	require.Equal(t, "in use", inFlags(cause))
}
