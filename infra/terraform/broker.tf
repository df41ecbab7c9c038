resource "huaweicloud_dms_rabbitmq_instance" "this" {
  name               = var.name
  description        = "Snapshot events in, backup outcomes out"
  engine_version     = var.broker_engine_version
  flavor_id          = var.broker_flavor_id
  broker_num         = var.broker_nodes
  storage_space      = var.broker_storage_gb
  storage_spec_code  = var.broker_storage_spec
  availability_zones = var.availability_zones
  vpc_id             = huaweicloud_vpc.this.id
  network_id         = huaweicloud_vpc_subnet.this.id
  security_group_id  = huaweicloud_networking_secgroup.broker.id
  access_user        = var.broker_user
  password           = var.broker_password
  ssl_enable         = var.broker_tls
  tags               = var.tags

  lifecycle {
    # It holds every event that is not finished.
    prevent_destroy = true
  }
}

resource "huaweicloud_dms_rabbitmq_vhost" "this" {
  instance_id = huaweicloud_dms_rabbitmq_instance.this.id
  name        = var.broker_vhost
}

# The exchanges are made here because the trigger needs one of them. Durable is said everywhere: the
# provider's default is false. The queues are not here: the provider cannot make quorum queues, nor
# dead-lettering that loses nothing. `snapshot-backup topology declare` makes them, and finds these
# exchanges as it would have declared them.

resource "huaweicloud_dms_rabbitmq_exchange" "snapshots" {
  instance_id = huaweicloud_dms_rabbitmq_instance.this.id
  vhost       = huaweicloud_dms_rabbitmq_vhost.this.name
  name        = var.snapshot_exchange
  type        = "topic"
  durable     = true
  auto_delete = false
}

resource "huaweicloud_dms_rabbitmq_exchange" "queue" {
  instance_id = huaweicloud_dms_rabbitmq_instance.this.id
  vhost       = huaweicloud_dms_rabbitmq_vhost.this.name
  name        = var.snapshot_queue
  type        = "fanout"
  durable     = true
  auto_delete = false
}

resource "huaweicloud_dms_rabbitmq_exchange" "results" {
  instance_id = huaweicloud_dms_rabbitmq_instance.this.id
  vhost       = huaweicloud_dms_rabbitmq_vhost.this.name
  name        = var.result_exchange
  type        = "topic"
  durable     = true
  auto_delete = false
}
