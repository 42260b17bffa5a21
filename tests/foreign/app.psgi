# For Starlet, and any other PSGI server.
my $app = sub {
    my $env = shift;
    my $path = $env->{PATH_INFO};
    my $body = $path eq '/pid' ? $$ : $path eq '/generation' ? $ENV{SERVER_STARTER_GENERATION} : 'Hello from Starlet';
    return [200, ['Content-Type' => 'text/plain', 'Content-Length' => length $body], [$body]];
};
