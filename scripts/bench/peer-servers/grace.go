// Serves its process id with facebookgo/grace: `grace ADDRESS`, restarted by USR2.
package main

import (
	"fmt"
	"net/http"
	"os"

	"github.com/facebookgo/grace/gracehttp"
)

func main() {
	handler := http.HandlerFunc(func(answer http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(answer, os.Getpid())
	})
	if err := gracehttp.Serve(&http.Server{Addr: os.Args[1], Handler: handler}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
