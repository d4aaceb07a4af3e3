package node

import (
	"context"
	"net/http"

	"github.com/seed-95a32959/holdfast/router"
)

// arrival is what is known of a request when it has come in at the public door.
type arrival struct {
	attempt
	hop *router.Hop // the member that has passed it on; nil for none
}

type arrivalKey struct{}

// arrived lets what is done for a request know how it has come here.
func arrived(r *http.Request, a arrival) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), arrivalKey{}, &a))
}

// hopOf returns the member that has passed a request on, as arrived has noted,
// or nil.
func hopOf(ctx context.Context) *router.Hop {
	if a, ok := ctx.Value(arrivalKey{}).(*arrival); ok {
		return a.hop
	}
	return nil
}
