resource "huaweicloud_dms_rabbitmq_instance" "this" {
  name               = var.name
  description        = "Receives snapshot events, and publishes backup outcomes"
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
    # The broker contains every event that is not finished.
    prevent_destroy = true
  }
}

resource "huaweicloud_dms_rabbitmq_vhost" "this" {
  instance_id = huaweicloud_dms_rabbitmq_instance.this.id
  name        = var.broker_vhost
}

# Exchanges are created here because the trigger needs one of them. `durable` is set everywhere, since the
# provider's default is false. Queues are not created here: the provider supports neither quorum queues nor
# at-least-once dead-lettering. `snapshot-backup topology declare` creates them, and accepts these exchanges,
# since they have the properties that it would declare.

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
