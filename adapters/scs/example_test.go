package scs_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	holdfastscs "github.com/seed-95a32959/holdfast/adapters/scs"
	"github.com/seed-95a32959/holdfast/node"
	"github.com/seed-95a32959/holdfast/session"
)

// A program gives the store to its session manager:
//
//	manager := scs.New() // of github.com/alexedwards/scs/v2
//	manager.Store = holdfastscs.New(n.Sessions())
//
// The manager then calls what is called here.
func Example() {
	ctx := context.Background()
	n, err := node.Start(ctx, node.Config{
		Name: "a", HTTP: "127.0.0.1:0", Admin: "127.0.0.1:0", Peer: "127.0.0.1:0", Gossip: "127.0.0.1:0",
		Secret: []byte("at least sixteen bytes, the same on all nodes"),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer n.Shutdown(ctx)
	store := holdfastscs.New(n.Sessions())

	end := time.Now().Add(24 * time.Hour)
	if err := store.CommitCtx(ctx, "token", []byte("alice"), end); err != nil {
		fmt.Println(err)
		return
	}
	data, found, err := store.FindCtx(ctx, "token")
	fmt.Println(string(data), found, err)

	// A logout sticks: a request that was slower than it cannot save any more.
	if err := store.DeleteCtx(ctx, "token"); err != nil {
		fmt.Println(err)
		return
	}
	err = store.CommitCtx(ctx, "token", []byte("alice"), end)
	fmt.Println("still logged out:", errors.Is(err, session.ErrDeleted))
	// Output:
	// alice true <nil>
	// still logged out: true
}
