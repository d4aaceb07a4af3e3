package fiber_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	holdfastfiber "github.com/seed-95a32959/holdfast/adapters/fiber"
	"github.com/seed-95a32959/holdfast/node"
	"github.com/seed-95a32959/holdfast/session"
)

// A program gives the storage to fiber's session middleware:
//
//	app.Use(session.New(session.Config{Storage: holdfastfiber.New(n.Sessions())}))
//
// The middleware then calls what is called here.
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
	storage := holdfastfiber.New(n.Sessions())

	if err := storage.SetWithContext(ctx, "id", []byte("alice"), 30*time.Minute); err != nil {
		fmt.Println(err)
		return
	}
	value, err := storage.GetWithContext(ctx, "id")
	fmt.Println(string(value), err)

	// A logout sticks: a request that was slower than it cannot save any more.
	if err := storage.DeleteWithContext(ctx, "id"); err != nil {
		fmt.Println(err)
		return
	}
	err = storage.SetWithContext(ctx, "id", []byte("alice"), 30*time.Minute)
	fmt.Println("still logged out:", errors.Is(err, session.ErrDeleted))
	// Output:
	// alice <nil>
	// still logged out: true
}

// Caches and rate limiters delete keys to write them again. They get a storage
// of their own, with another prefix.
func ExampleWithRevive() {
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
	cache := holdfastfiber.New(n.Sessions(), holdfastfiber.WithPrefix("cache:"), holdfastfiber.WithRevive())

	for _, page := range []string{"old", "new"} {
		if err := cache.Delete("/"); err != nil {
			fmt.Println(err)
			return
		}
		if err := cache.Set("/", []byte(page), time.Minute); err != nil {
			fmt.Println(err)
			return
		}
	}
	page, err := cache.Get("/")
	fmt.Println(string(page), err)
	// Output: new <nil>
}
