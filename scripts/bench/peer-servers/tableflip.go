// Serves its process id with cloudflare/tableflip: `tableflip ADDRESS`, restarted by USR2. As its README has it.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/cloudflare/tableflip"
)

func main() {
	if err := serve(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(address string) error {
	upgrader, err := tableflip.New(tableflip.Options{})
	if err != nil {
		return err
	}
	defer upgrader.Stop()
	go func() {
		asked := make(chan os.Signal, 1)
		signal.Notify(asked, syscall.SIGUSR2, syscall.SIGTERM)
		for which := range asked {
			if which == syscall.SIGTERM {
				upgrader.Stop()
				return
			}
			if err := upgrader.Upgrade(); err != nil {
				fmt.Fprintln(os.Stderr, "upgrade:", err)
			}
		}
	}()
	listener, err := upgrader.Listen("tcp", address)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: http.HandlerFunc(func(answer http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(answer, os.Getpid())
	})}
	go server.Serve(listener)
	if err := upgrader.Ready(); err != nil {
		return err
	}
	<-upgrader.Exit()
	deadline, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return server.Shutdown(deadline)
}
