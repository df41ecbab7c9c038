output "function_urn" {
  description = "URN of the function."
  value       = huaweicloud_fgs_function.this.urn
}

output "amqp_url" {
  description = "AMQP_URL for topology declare, dead-letters and doctor."
  value       = local.amqp_url
  sensitive   = true
}

output "topology_settings" {
  description = "The settings that name queues and exchanges, as a .env file for topology declare, dead-letters and doctor."
  value       = local.topology_settings
}

output "broker_management_address" {
  description = "Management page of the broker, reachable from operator_cidrs."
  value       = huaweicloud_dms_rabbitmq_instance.this.management_connect_address
}

output "egress_address" {
  description = "Address that the backup API sees, for its allow-lists; null without NAT."
  value       = one(huaweicloud_vpc_eip.egress[*].address)
}

output "alarm_topic_urn" {
  description = "Topic to which alarms and failed calls are sent."
  value       = huaweicloud_smn_topic.alarms.topic_urn
}

output "trigger_id" {
  description = "The trigger; null as long as trigger_enabled is false."
  value       = one(huaweicloud_fgs_function_trigger.queue[*].id)
}

output "state_keys" {
  description = "STATE_KEYS for dead-letters replay and for workers at the same queue."
  value       = local.state_keys
  sensitive   = true
}
